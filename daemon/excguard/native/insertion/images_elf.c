#include "images.h"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <excsim.h>

static void (*image_found)(const struct image *);
/* The segment that the thread last called from. A preloaded library is there from the start (initial-exec).
 */
static _Thread_local uint64_t last_first __attribute__((tls_model("initial-exec")));
static _Thread_local uint64_t last_size __attribute__((tls_model("initial-exec")));
static _Atomic unsigned long long added; /* images in the life of the process, when they were last reported */

/* The build id of a PT_NOTE segment, or NULL. */
static const uint8_t *build_id(const uint8_t *note, uint64_t size) {
    while (size >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *header = (const void *)note;
        uint64_t name = (header->n_namesz + 3u) & ~3u, content = (header->n_descsz + 3u) & ~3u;
        if (name + content > size - sizeof *header) {
            break;
        }
        if (header->n_type == NT_GNU_BUILD_ID && header->n_descsz >= 16 &&
            strncmp((const char *)(header + 1), "GNU", 4) == 0) {
            return note + sizeof *header + name;
        }
        note += sizeof *header + name + content;
        size -= sizeof *header + name + content;
    }
    return NULL;
}

static int describe(struct dl_phdr_info *info, size_t size, void *skipped) {
    (void)size;
    uint32_t *left = skipped;
    if (*left > 0) { /* reported before */
        (*left)--;
        return 0;
    }
    char path[PATH_MAX];
    uint64_t first = UINT64_MAX, end = 0;
    struct image image = {.path = info->dlpi_name};
    for (uint16_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t address = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD) {
            first = address < first ? address : first;
            end = address + segment->p_memsz > end ? address + segment->p_memsz : end;
        } else if (segment->p_type == PT_NOTE && image.uuid == NULL) {
            image.uuid = build_id((const uint8_t *)(uintptr_t)address, segment->p_memsz);
        }
    }
    if (image.path[0] == '\0') { /* the program itself */
        ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
        image.path = path;
    }
    image.address = first;
    image.size = end - first;
    image_found(&image);
    return 0;
}

static int count(struct dl_phdr_info *info, size_t size, void *out) {
    (void)size;
    memcpy(out, &(unsigned long long[]){info->dlpi_adds, info->dlpi_subs}, 2 * sizeof(unsigned long long));
    return 1;
}

/* The loader appends new images to its list, so those that were reported come first unless some were removed.
 */
static void report_new(void) {
    unsigned long long counts[2] = {0, 0};
    dl_iterate_phdr(count, counts);
    unsigned long long before = atomic_exchange(&added, counts[0]);
    if (before != counts[0]) {
        uint32_t reported = counts[1] == 0 ? (uint32_t)before : 0;
        dl_iterate_phdr(describe, &reported);
    }
}

void images_watch(void (*found)(const struct image *)) {
    image_found = found;
    report_new();
}

/* Whether `address` is in an image: then that is where the next call of this thread most likely is, too. */
static int contains(struct dl_phdr_info *info, size_t size, void *address) {
    (void)size;
    uint64_t *caller = address;
    for (uint16_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t first = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && *caller - first < segment->p_memsz) {
            last_first = first;
            last_size = segment->p_memsz;
            return 1;
        }
    }
    return 0;
}

void excsim_will_call(uint64_t caller) {
    if (image_found != NULL && caller - last_first >= last_size) {
        report_new();
        dl_iterate_phdr(contains, &caller);
    }
}
