/*
 * raise_guards COUNT [CODE [SUBCODE]]: raises the guard COUNT times and prints the kernel's answer to the
 * last one. A COUNT of 0: raises EXC_BAD_ACCESS once in place of a guard. With EXCGUARD_TEST_HOLD in the
 * environment it stops itself first, so that the test can pass its pid to the receiver.
 */
#include <excsim.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t code =
        argc > 2 ? strtoull(argv[2], NULL, 0) : UINT64_C(0x2000020000001603); /* INVALID_NAME 0x1603 */
    uint64_t subcode = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    if (getenv("EXCGUARD_TEST_HOLD") != NULL) {
        raise(SIGSTOP);
    }
    kern_return_t result =
        count == 0 ? excsim_raise_exception(EXC_BAD_ACCESS, 1, 0) : excsim_raise_many(code, subcode, count);
    printf("%d\n", result);
    return 0;
}
