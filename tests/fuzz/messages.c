/* libFuzzer: any bytes at all through the parser and the receiver's answer. */
#include "message_properties.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (journal == NULL) {
        start_properties();
    }
    check_properties(bytes, size);
    return 0;
}
