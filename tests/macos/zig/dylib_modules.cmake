# Loadable modules become dylibs (see zig.cmake).
set(CMAKE_SHARED_MODULE_CREATE_C_FLAGS "-dynamiclib")
set(CMAKE_SHARED_MODULE_LOADER_C_FLAG "")
