/*
 * simulator_calls TIMES: microseconds that a mach_port_deallocate, a message to oneself and, beside them, a
 * round trip of 64 bytes over a bare socket pair take.
 */
#include <mach/mach.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double deallocate(mach_port_t port, int times) {
    if (mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_SEND, times)) {
        exit(1);
    }
    double start = now();
    for (int at = 0; at < times; at++) {
        if (mach_port_deallocate(mach_task_self(), port)) {
            exit(1);
        }
    }
    return (now() - start) / times;
}

static double message(mach_port_t port, int times) {
    struct {
        mach_msg_header_t header;
        char body[64];
        mach_msg_max_trailer_t trailer;
    } buffer = {0};
    double start = now();
    for (int at = 0; at < times; at++) {
        buffer.header = (mach_msg_header_t){
            .msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0),
            .msgh_size = sizeof buffer.header + sizeof buffer.body,
            .msgh_remote_port = port,
        };
        if (mach_msg(&buffer.header, MACH_SEND_MSG, buffer.header.msgh_size, 0, 0, 0, 0) ||
            mach_msg(&buffer.header, MACH_RCV_MSG, 0, sizeof buffer, port, 0, 0)) {
            exit(1);
        }
    }
    return (now() - start) / times;
}

static double bare(int times) {
    int ends[2];
    char bytes[64] = {0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends)) {
        exit(1);
    }
    if (!fork()) {
        close(ends[0]);
        while (recv(ends[1], bytes, sizeof bytes, 0) == sizeof bytes) {
            send(ends[1], bytes, sizeof bytes, 0);
        }
        _exit(0);
    }
    double start = now();
    for (int at = 0; at < times; at++) {
        send(ends[0], bytes, sizeof bytes, 0);
        recv(ends[0], bytes, sizeof bytes, 0);
    }
    double each = (now() - start) / times;
    close(ends[0]);
    return each;
}

int main(int argc, char **argv) {
    int times = argc > 1 ? atoi(argv[1]) : 10000;
    mach_port_t port;
    if (mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port) ||
        mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND)) {
        return 1;
    }
    printf("%.2f %.2f %.2f\n", deallocate(port, times), message(port, times), bare(times));
    return 0;
}
