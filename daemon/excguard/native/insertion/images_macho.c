#include "images.h"

#include <dlfcn.h>
#include <mach-o/dyld.h>
#include <mach-o/loader.h>
#include <string.h>

static void (*image_found)(const struct image *);

/* dyld has checked the load commands before it loaded the image. */
static void describe(const struct mach_header *header, intptr_t slide) {
    Dl_info info;
    struct image image = {.address = (uint64_t)(uintptr_t)header, .path = ""};
    const uint8_t *command = (const uint8_t *)header + sizeof(struct mach_header_64);
    if (header->magic != MH_MAGIC_64 || (header->flags & MH_DYLIB_IN_CACHE) != 0) {
        return;
    }
    for (uint32_t i = 0; i < header->ncmds; i++) {
        const struct load_command *each = (const void *)command;
        const struct segment_command_64 *segment = (const void *)command;
        if (each->cmd == LC_UUID) {
            image.uuid = ((const struct uuid_command *)(const void *)command)->uuid;
        } else if (each->cmd == LC_SEGMENT_64 && segment->initprot != 0) { /* all but __PAGEZERO */
            image.size = segment->vmaddr + (uint64_t)slide + segment->vmsize - image.address;
        }
        command += each->cmdsize;
    }
    if (dladdr(header, &info) != 0 && info.dli_fname != NULL) {
        image.path = info.dli_fname;
    }
    image_found(&image);
}

void images_watch(void (*found)(const struct image *)) {
    image_found = found;
    _dyld_register_func_for_add_image(describe);
}
