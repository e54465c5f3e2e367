# Toolchain: compiles for macOS on another system with the clang, SDK headers and symbol list of PyPI's `ziglang`.
#
#   cmake -S daemon -B build -DCMAKE_TOOLCHAIN_FILE=tests/macos/zig/zig.cmake
#         -DEXCGUARD_ZIG=.../ziglang/zig -DEXCGUARD_MACOS_ARCH=x86_64|aarch64 -DPython_INCLUDE_DIR=...
#
# cross.py calls it so, for the tests and for the wheel.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR "${EXCGUARD_MACOS_ARCH}")
set(CMAKE_C_COMPILER "${EXCGUARD_ZIG};cc;-target;${EXCGUARD_MACOS_ARCH}-macos.12.0")

# What CMake would find out by linking executables for macOS, ten seconds each with a new ziglang: it is known.
set(CMAKE_C_COMPILER_ID_RUN TRUE)
set(CMAKE_C_COMPILER_ID Clang)
set(CMAKE_C_COMPILER_VERSION 18.0)
set(CMAKE_C_STANDARD_COMPUTED_DEFAULT 17)
set(CMAKE_C_EXTENSIONS_COMPUTED_DEFAULT ON)
set(CMAKE_C_COMPILER_FORCED TRUE)

# servers/bootstrap.h is the one header of ours that ziglang's excerpt of the SDK lacks. Searched last.
set(CMAKE_C_FLAGS_INIT "-idirafter ${CMAKE_CURRENT_LIST_DIR}/include -Wunguarded-availability")

# zig's linker makes no bundles (MH_BUNDLE); Python loads a dylib just as well. Set after CMake's own platform file.
set(CMAKE_PROJECT_INCLUDE "${CMAKE_CURRENT_LIST_DIR}/dylib_modules.cmake")
