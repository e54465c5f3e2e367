/* Doubly linked lists whose links lie inside their members. */
#ifndef EXCSIM_LIST_H
#define EXCSIM_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_MEMBER(node, type, field) ((type *)(void *)((char *)(node) - offsetof(type, field)))
#define LIST_EACH(head, node) for (struct list *node = (head)->next; node != (head); node = node->next)
/* Like LIST_EACH; the member at hand may be removed. */
#define LIST_EACH_SAFE(head, node)                                               \
    for (struct list *node = (head)->next, *after_ = node->next; node != (head); \
         node = after_, after_ = node->next)

static inline void list_init(struct list *list) {
    list->next = list->prev = list;
}

static inline bool list_empty(const struct list *list) {
    return list->next == list;
}

/* Before `node`; at the end, when that is the list itself. */
static inline void list_insert(struct list *node, struct list *member) {
    member->prev = node->prev;
    member->next = node;
    node->prev->next = member;
    node->prev = member;
}

/* Out of its list, if it is in one. */
static inline void list_remove(struct list *member) {
    member->prev->next = member->next;
    member->next->prev = member->prev;
    list_init(member);
}

#endif
