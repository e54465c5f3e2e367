/*
 * launchd's part: one flat name space of services. A name is taken by who checks in or registers first, until
 * its port dies.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

enum {
    SERVICES_MAX = 4096,
    SYSTEM_DOMAIN = 1, /* the kernel hands launchd's number on; launchd's headers are not public */
};

struct service {
    struct list link;
    char name[WIRE_NAME_MAX];
    struct port *port; /* a send right */
};

static struct list services = {&services, &services};
static size_t service_count;
static struct port *launchd; /* the bootstrap port; its receive right */

void bootstrap_init(void) {
    launchd = port_new_kernel(PORT_BOOTSTRAP, NULL);
}

struct port *bootstrap_send_right(void) {
    return port_make_send(launchd);
}

static void service_free(struct service *service) {
    list_remove(&service->link);
    service_count--;
    port_release_send(service->port);
    free(service);
}

void bootstrap_exit(void) {
    while (!list_empty(&services)) {
        service_free(LIST_MEMBER(services.next, struct service, link));
    }
    port_destroy(launchd);
}

/* A service whose port died gives its name back. */
static struct service *find(const char *name) {
    LIST_EACH_SAFE(&services, node) {
        struct service *service = LIST_MEMBER(node, struct service, link);
        if (!service->port->active) {
            service_free(service);
        } else if (!strcmp(service->name, name)) {
            return service;
        }
    }
    return NULL;
}

static kern_return_t publish(const char *name, struct port *port) {
    if (service_count >= SERVICES_MAX) {
        port_release_send(port);
        return BOOTSTRAP_NO_MEMORY;
    }
    struct service *service = kernel_alloc(sizeof *service);
    memcpy(service->name, name, strlen(name) + 1);
    service->port = port;
    list_insert(&services, &service->link);
    service_count++;
    return KERN_SUCCESS;
}

static kern_return_t check_in(struct thread *thread, const char *name) {
    if (find(name)) {
        return BOOTSTRAP_SERVICE_ACTIVE;
    }
    /* A service port since 26: its receive right has moved once, from launchd to here, and moves no more. */
    struct port *port = port_new(PORT_SERVICE);
    port_reference(port);
    mach_service_port_info_data_t info = {.mspi_domain_type = SYSTEM_DOMAIN};
    memcpy(info.mspi_string_name, name, strlen(name) + 1);
    port_set_service(port, &info);
    mach_port_name_t received = space_copyout(thread->task->space, port, MACH_MSG_TYPE_PORT_RECEIVE);
    kern_return_t result = received ? publish(name, port_make_send(port)) : KERN_RESOURCE_SHORTAGE;
    if (received && result != KERN_SUCCESS) {
        right_destroy(space_lookup(thread->task->space, received));
    }
    port_release(port);
    thread->reply.value[0] = received;
    return result;
}

static kern_return_t give_send_right(struct thread *thread, struct port *port) {
    mach_port_name_t name = space_copyout(thread->task->space, port_copy_send(port), MACH_MSG_TYPE_PORT_SEND);
    thread->reply.value[0] = name;
    return name ? KERN_SUCCESS : KERN_RESOURCE_SHORTAGE;
}

static kern_return_t register_port(struct thread *thread, const char *name, mach_port_name_t port_name) {
    struct entry *entry = space_lookup(thread->task->space, port_name);
    struct port *port;
    if (find(name)) {
        return BOOTSTRAP_SERVICE_ACTIVE;
    }
    if (!entry) {
        return MACH_SEND_INVALID_RIGHT;
    }
    kern_return_t result =
        right_copyin(entry, MACH_MSG_TYPE_COPY_SEND, COPYIN_PORT_DESCRIPTOR, 0, NULL, &port);
    return result == KERN_SUCCESS ? publish(name, port) : MACH_SEND_INVALID_RIGHT;
}

kern_return_t bootstrap_call(struct thread *thread, const struct wire_request *request, const char *name) {
    struct entry *entry = space_lookup(thread->task->space, (mach_port_name_t)request->arg[0]);
    if (!entry || !(entry->bits & MACH_PORT_TYPE_SEND) || entry->port != launchd) {
        return MACH_SEND_INVALID_DEST;
    }
    if (request->op == WIRE_BOOTSTRAP_CHECK_IN) {
        return check_in(thread, name);
    }
    if (request->op == WIRE_BOOTSTRAP_REGISTER) {
        return register_port(thread, name, (mach_port_name_t)request->arg[1]);
    }
    struct service *service = find(name);
    return service ? give_send_right(thread, service->port) : BOOTSTRAP_UNKNOWN_SERVICE;
}
