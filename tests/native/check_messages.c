/*
 * Runs the properties over a file of messages, each behind its 32-bit length, and prints how many there were.
 */
#include "message_properties.h"

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: check_messages FILE\n");
        return 2;
    }
    start_properties();
    static uint8_t bytes[1 << 16];
    uint32_t size;
    unsigned long count = 0;
    while (fread(&size, sizeof size, 1, file) == 1) {
        MUST(size <= sizeof bytes);
        MUST(fread(bytes, 1, size, file) == size);
        check_properties(bytes, size);
        count++;
    }
    fclose(file);
    free(handler);
    excguard_journal_close(journal);
    printf("%lu\n", count);
    return 0;
}
