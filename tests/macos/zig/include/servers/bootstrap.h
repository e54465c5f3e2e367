/*
 * Stands in for the SDK's header where a cross-compiler's SDK lacks it; the declarations have their home
 * there.
 */
#include "../../../../daemon/simulator/include/servers/bootstrap.h"
