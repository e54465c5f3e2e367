/* The images of this process. One implementation for each kind of loader: images_macho.c, images_elf.c. */
#ifndef EXCGUARD_INSERTION_IMAGES_H
#define EXCGUARD_INSERTION_IMAGES_H

#include <stdint.h>

struct image {
    uint64_t address, size; /* as in struct excguard_insertion_image */
    const char *path;       /* never NULL; valid during the call */
    const uint8_t *uuid;    /* 16 bytes, or NULL */
};

/*
 * Calls `found` for each image that is loaded now, before it returns, and later for each one that is loaded,
 * on the thread that loads it; in an ELF process on the next thread that calls the kernel, before it does.
 */
void images_watch(void (*found)(const struct image *image));

#endif
