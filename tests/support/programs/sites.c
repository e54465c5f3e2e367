/*
 * A program with known and new places that break rules: each argument is the name of a function below.
 * Built with -DLATER it is the next build of the same source: another build id, other offsets.
 */
#include <stdio.h>
#include <string.h>

#include <excsim.h>
#include <mach/mach.h>

#define NOWHERE 0x77703u

#ifdef LATER
static volatile int added;

__attribute__((noinline)) static void something_new(void) {
    for (int i = 0; i < 100; i++) {
        added += i;
    }
}
#endif

__attribute__((noinline)) static void open_camera(void) {
    mach_port_deallocate(mach_task_self(), NOWHERE);
}

__attribute__((noinline)) static void close_camera(void) {
    mach_port_deallocate(mach_task_self(), NOWHERE);
}

__attribute__((noinline)) static void mute(void) {
    mach_port_mod_refs(mach_task_self(), NOWHERE, MACH_PORT_RIGHT_SEND, -1);
}

__attribute__((noinline)) static void hang_up(void) {
    mach_port_deallocate(mach_task_self(), NOWHERE);
}

/* One place, 300 ports. */
__attribute__((noinline)) static void storm(void) {
    for (mach_port_name_t i = 0; i < 300; i++) {
        mach_port_deallocate(mach_task_self(), NOWHERE + (i << 8));
    }
}

int main(int count, char **names) {
#ifdef LATER
    something_new();
#endif
    for (int i = 1; i < count; i++) {
        if (strcmp(names[i], "open_camera") == 0) {
            open_camera();
        } else if (strcmp(names[i], "close_camera") == 0) {
            close_camera();
        } else if (strcmp(names[i], "mute") == 0) {
            mute();
        } else if (strcmp(names[i], "hang_up") == 0) {
            hang_up();
        } else if (strcmp(names[i], "storm") == 0) {
            storm();
        } else {
            fprintf(stderr, "%s: not a function\n", names[i]);
            return 2;
        }
    }
    return 0;
}
