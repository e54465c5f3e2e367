/*
 * Constants that came after the oldest SDK we build with (macOS 14.0). Where the SDK has them, its own count;
 * a test (tests/macos/test_header_layout.py) holds these against an SDK that does.
 */
#ifndef EXCGUARD_NEWER_CONSTANTS_H
#define EXCGUARD_NEWER_CONSTANTS_H

#include <mach/exception_types.h>
#include <mach/port.h>

#ifndef EXCEPTION_STATE_IDENTITY_PROTECTED /* macOS 15.0 */
#define EXCEPTION_STATE_IDENTITY_PROTECTED 5
#endif

#ifndef MPO_EXCEPTION_PORT /* macOS 15.0 */
#define MPO_EXCEPTION_PORT 0x8000
#endif

#ifndef MPO_CONNECTION_PORT_WITH_PORT_ARRAY /* macOS 26 */
#define MPO_CONNECTION_PORT_WITH_PORT_ARRAY 0x10000
#endif

#endif
