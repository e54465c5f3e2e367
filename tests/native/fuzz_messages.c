/*
 * libFuzzer: any bytes at all through the parser and the receiver's answer.
 *
 *   python -m tests.native.fuzz CORPUS_DIRECTORY [libFuzzer options]
 *
 * builds it, seeds the corpus with the golden messages and runs it until it is stopped or finds something.
 */
#include "message_properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (journal == NULL) {
        start_properties();
    }
    check_properties(bytes, size);
    return 0;
}
