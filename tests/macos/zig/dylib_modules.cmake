# Loadable modules become dylibs (see zig.cmake).
set(CMAKE_SHARED_MODULE_CREATE_C_FLAGS "-dynamiclib")
set(CMAKE_SHARED_MODULE_LOADER_C_FLAG "")
# Room in the header for the load command of a signature (adhoc_signature.py).
add_link_options(-Wl,-headerpad,0x40)
