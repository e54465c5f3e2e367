/*
 * A child that rendezvouses by the C client, one word of its command line after the other:
 *
 *   output FILE             what is printed goes there
 *   sign ID TEAM CLASS      (simulator) gives this program a code signature; CLASS is enum excsim_certificate
 *   require TEXT            what the server has to fulfil
 *   service NAME            another service than the environment's
 *   pid PID                 another server than the environment's
 *   timeout MS
 *   chromium                that protocol
 *   acquire                 prints "outcome validation count"
 *   take KEY KIND           prints "taken" or "nothing"; what was taken is used by the next two
 *   send ID                 a message with this id, by the send or send-once right
 *   receive                 prints the id of a message that arrives
 *   release                 what was not taken
 *   names                   prints how many names this task has
 *   watch                   excguard_client_watch_self; prints the outcome
 *   flags                   prints the task's guard behavior
 *   violate                 breaks a rule: releases a right that it does not have
 *   variables               prints how many variables of excguard's are in the environment
 *   stop                    prints "stopped" and stops itself until SIGCONT
 *   exec / fork             the rest is done by this program anew, or by a child of it
 *   exit STATUS
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "excguard_client.h"
#ifndef __APPLE__
#include <excsim.h>
#endif

extern char **environ;

static struct excguard_client_options options;
static struct excguard_client client;
static mach_port_t taken;
static uint32_t taken_kind;

static void send_id(mach_msg_id_t id) {
    mach_msg_header_t message = {
        .msgh_bits =
            MACH_MSGH_BITS(taken_kind, 0), /* PORT_SEND is MOVE_SEND, PORT_SEND_ONCE is MOVE_SEND_ONCE */
        .msgh_size = sizeof message,
        .msgh_remote_port = taken,
        .msgh_id = id,
    };
    printf("sent %d\n", mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0));
}

static void receive_id(void) {
    union {
        mach_msg_header_t header;
        uint8_t bytes[256];
    } message;
    kern_return_t result =
        mach_msg(&message.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof message, taken, 20000, 0);
    printf("received %d\n", result ? -result : message.header.msgh_id);
    mach_port_mod_refs(mach_task_self(), taken, MACH_PORT_RIGHT_RECEIVE, -1);
}

static int count_variables(void) {
    int count = 0;
    for (char **at = environ; *at; at++) {
        count += !strncmp(*at, "EXCGUARD_RENDEZVOUS_", 20);
    }
    return count;
}

static unsigned count_names(void) {
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    mach_msg_type_number_t count = 0, type_count = 0;
    if (mach_port_names(mach_task_self(), &names, &count, &types, &type_count)) {
        return 0;
    }
    vm_deallocate(mach_task_self(), (vm_address_t)names, count * sizeof *names);
    vm_deallocate(mach_task_self(), (vm_address_t)types, type_count * sizeof *types);
    return count;
}

int main(int argc, char **argv) {
    (void)argc;
    int configured = 0;
    for (char **word = argv + 1; *word; word++) {
        const char *verb = *word;
        if (!strcmp(verb, "require") || !strcmp(verb, "service") || !strcmp(verb, "pid") ||
            !strcmp(verb, "timeout") || !strcmp(verb, "chromium") || !strcmp(verb, "acquire")) {
            if (!configured) {
                excguard_client_options_from_environment(&options);
            }
            configured = 1;
        }
        if (!strcmp(verb, "output")) {
            if (!freopen(*++word, "a", stdout)) {
                return 99;
            }
#ifndef __APPLE__
        } else if (!strcmp(verb, "sign")) {
            excsim_sign(word[1], word[2], (enum excsim_certificate)atoi(word[3]));
            word += 3;
#endif
        } else if (!strcmp(verb, "require")) {
            options.server_requirement = *++word;
        } else if (!strcmp(verb, "service")) {
            snprintf(options.service, sizeof options.service, "%s", *++word);
        } else if (!strcmp(verb, "pid")) {
            options.server_pid = atoi(*++word);
        } else if (!strcmp(verb, "timeout")) {
            options.timeout_ms = (uint32_t)atoi(*++word);
        } else if (!strcmp(verb, "chromium")) {
            options.protocol = EXCGUARD_CLIENT_PROTOCOL_CHROMIUM;
        } else if (!strcmp(verb, "acquire")) {
            excguard_client_acquire(&options, &client);
            printf("%d %d %u\n", client.outcome, client.validation, client.count);
        } else if (!strcmp(verb, "take")) {
            taken_kind = (uint32_t)atoi(word[2]);
            taken = excguard_client_take(&client, (uint32_t)strtoul(word[1], NULL, 0), taken_kind);
            puts(taken ? "taken" : "nothing");
            word += 2;
        } else if (!strcmp(verb, "send")) {
            send_id(atoi(*++word));
        } else if (!strcmp(verb, "receive")) {
            receive_id();
        } else if (!strcmp(verb, "release")) {
            excguard_client_release(&client);
        } else if (!strcmp(verb, "names")) {
            printf("names %u\n", count_names());
        } else if (!strcmp(verb, "watch")) {
            printf("watch %d\n", excguard_client_watch_self());
        } else if (!strcmp(verb, "flags")) {
            task_exc_guard_behavior_t flags = 0;
            task_get_exc_guard_behavior(mach_task_self(), &flags);
            printf("flags %u\n", flags);
        } else if (!strcmp(verb, "violate")) {
            printf("violate %d\n", mach_port_deallocate(mach_task_self(), 0x1f03));
        } else if (!strcmp(verb, "variables")) {
            printf("variables %d\n", count_variables());
        } else if (!strcmp(verb, "stop")) {
            puts("stopped");
            fflush(stdout);
            raise(SIGSTOP);
        } else if (!strcmp(verb, "exec")) {
            *word = argv[0];
            fflush(stdout);
            execv(argv[0], word);
            return 98;
        } else if (!strcmp(verb, "fork")) {
            int status = 0;
            fflush(stdout);
            if (fork()) {
                wait(&status);
                return WEXITSTATUS(status);
            }
        } else if (!strcmp(verb, "exit")) {
            fflush(stdout);
            return atoi(*++word);
        } else {
            fprintf(stderr, "child: no such word: %s\n", verb);
            return 97;
        }
        fflush(stdout);
    }
    return 0;
}
