/* sysctl NAME...: prints each string, one a line. */
#include <stdio.h>
#include <sys/sysctl.h>

int main(int argc, char **argv) {
    for (int at = 1; at < argc; at++) {
        char text[256] = "";
        size_t size = sizeof text;
        if (sysctlbyname(argv[at], text, &size, NULL, 0)) {
            return 1;
        }
        puts(text);
    }
    return 0;
}
