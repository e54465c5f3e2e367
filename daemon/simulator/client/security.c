/*
 * What CoreFoundation and the Security framework do for a code signing requirement: the functions that
 * SecCodeCheckValidity(3) needs around it, found by dlsym (dlfcn.h). The certificates are those that Apple
 * issues for each kind of signature, reduced to the marker fields that requirements ask for.
 */
#define EXCSIM_LIBC_DLFCN
#include <dlfcn.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bsm/libbsm.h"
#include "connection.h"
#include "excsim.h"

/* Security/CSCommon.h and CFString.h, macOS 26.4 SDK. */
enum {
    STATUS_SUCCESS = 0,
    STATUS_REQ_FAILED = -67050,
    STATUS_REQ_INVALID = -67052,
    STATUS_UNSIGNED = -67062,
    STATUS_NO_SUCH_CODE = -67065,
    STATUS_INVALID_ATTRIBUTE_VALUES = -67066,
    STATUS_UNSUPPORTED_GUEST_ATTRIBUTES = -67067,
    STRING_ENCODING_UTF8 = 0x08000100,
};

/* ---- objects ---- */

enum kind { KIND_BYTES, KIND_PAIR, KIND_CODE };

struct object {
    enum kind kind;
    unsigned references;
    const void *key; /* of the one pair of a dictionary */
    struct object *value;
    audit_token_t token;
    size_t size;
    char bytes[]; /* and a final NUL */
};

static struct object *object_new(enum kind kind, const void *bytes, size_t size) {
    struct object *object = calloc(1, sizeof *object + size + 1);
    if (!object) {
        return NULL;
    }
    object->kind = kind;
    object->references = 1;
    object->size = size;
    if (size) {
        memcpy(object->bytes, bytes, size);
    }
    return object;
}

static void release(const void *released) {
    struct object *object = (struct object *)(uintptr_t)released;
    if (__atomic_sub_fetch(&object->references, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    if (object->value) {
        release(object->value);
    }
    free(object);
}

static const void *data_create(const void *allocator, const uint8_t *bytes, long length) {
    (void)allocator;
    return object_new(KIND_BYTES, bytes, (size_t)length);
}

static const void *string_create(const void *allocator, const char *text, uint32_t encoding) {
    (void)allocator;
    return encoding == STRING_ENCODING_UTF8 ? object_new(KIND_BYTES, text, strlen(text)) : NULL;
}

/* Of one pair: more are never asked for. */
static const void *dictionary_create(const void *allocator, const void **keys, const void **values,
                                     long count, const void *key_callbacks, const void *value_callbacks) {
    (void)allocator, (void)key_callbacks, (void)value_callbacks;
    struct object *dictionary = count == 1 ? object_new(KIND_PAIR, NULL, 0) : NULL;
    if (dictionary) {
        dictionary->key = keys[0];
        dictionary->value = (struct object *)(uintptr_t)values[0];
        __atomic_add_fetch(&dictionary->value->references, 1, __ATOMIC_RELAXED);
    }
    return dictionary;
}

/* ---- the requirement language (csreq(1), "Code Signing Requirement Language") ---- */

struct parser {
    const char *at;
    const struct wire_signature *signature;
    bool wrong; /* a syntax error */
};

static void skip_space(struct parser *parser) {
    for (;;) {
        while (isspace((unsigned char)*parser->at)) {
            parser->at++;
        }
        if (strncmp(parser->at, "/*", 2)) {
            return;
        }
        const char *end = strstr(parser->at + 2, "*/");
        parser->at = end ? end + 2 : parser->at + strlen(parser->at);
    }
}

static bool accept(struct parser *parser, const char *word) {
    skip_space(parser);
    size_t length = strlen(word);
    if (strncmp(parser->at, word, length)) {
        return false;
    }
    if (isalnum((unsigned char)word[length - 1]) && isalnum((unsigned char)parser->at[length])) {
        return false;
    }
    parser->at += length;
    return true;
}

static void expect(struct parser *parser, const char *word) {
    if (!accept(parser, word)) {
        parser->wrong = true;
    }
}

/* A value: quoted, or a word of letters, digits and dots. */
static void read_value(struct parser *parser, char *value, size_t room) {
    skip_space(parser);
    bool quoted = *parser->at == '"';
    size_t length = 0;
    if (quoted) {
        parser->at++;
    }
    for (; *parser->at &&
           (quoted ? *parser->at != '"' : isalnum((unsigned char)*parser->at) || *parser->at == '.');
         parser->at++) {
        if (quoted && *parser->at == '\\' && parser->at[1]) {
            parser->at++;
        }
        if (length + 1 < room) {
            value[length++] = *parser->at;
        } else {
            parser->wrong = true;
        }
    }
    value[length] = '\0';
    if (quoted) {
        expect(parser, "\"");
    } else if (!length) {
        parser->wrong = true;
    }
}

static bool has_field(const struct wire_signature *signature, bool leaf, const char *field) {
    static const struct {
        uint32_t certificate;
        bool leaf;
        const char *field;
    } fields[] = {
        {EXCSIM_DEVELOPER_ID, true, "1.2.840.113635.100.6.1.13"},
        {EXCSIM_DEVELOPER_ID, false, "1.2.840.113635.100.6.2.6"},
        {EXCSIM_APP_STORE, true, "1.2.840.113635.100.6.1.9"},
        {EXCSIM_APP_STORE, false, "1.2.840.113635.100.6.2.1"},
        {EXCSIM_DEVELOPMENT, true, "1.2.840.113635.100.6.1.12"},
        {EXCSIM_DEVELOPMENT, false, "1.2.840.113635.100.6.2.1"},
    };
    for (size_t at = 0; at < sizeof fields / sizeof *fields; at++) {
        if (fields[at].certificate == signature->certificate && fields[at].leaf == leaf &&
            !strcmp(fields[at].field, field)) {
            return true;
        }
    }
    return false;
}

/* "certificate SLOT[KEY] = VALUE" or "certificate SLOT[KEY] exists", the word "exists" being optional. */
static bool certificate(struct parser *parser) {
    char slot[16], key[128], value[128];
    read_value(parser, slot, sizeof slot);
    expect(parser, "[");
    read_value(parser, key, sizeof key);
    expect(parser, "]");
    bool leaf = !strcmp(slot, "leaf") || !strcmp(slot, "0");
    if (!leaf && strcmp(slot, "1")) {
        parser->wrong = true; /* the others are not simulated */
    }
    if (accept(parser, "=")) {
        read_value(parser, value, sizeof value);
        if (strcmp(key, "subject.OU")) {
            parser->wrong = true;
        }
        bool named = parser->signature->certificate == EXCSIM_DEVELOPER_ID ||
                     parser->signature->certificate == EXCSIM_DEVELOPMENT;
        return leaf && named && !strcmp(parser->signature->team, value);
    }
    accept(parser, "exists");
    if (strncmp(key, "field.", 6)) {
        parser->wrong = true;
    }
    return has_field(parser->signature, leaf, key + 6);
}

static bool disjunction(struct parser *parser, int depth);

static bool primary(struct parser *parser, int depth) {
    char value[WIRE_NAME_MAX];
    if (depth > 64) {
        parser->wrong = true;
    }
    if (parser->wrong) {
        return false;
    }
    if (accept(parser, "(")) {
        bool holds = disjunction(parser, depth + 1);
        expect(parser, ")");
        return holds;
    }
    if (accept(parser, "!")) {
        return !primary(parser, depth + 1);
    }
    if (accept(parser, "always") || accept(parser, "true")) {
        return true;
    }
    if (accept(parser, "never") || accept(parser, "false")) {
        return false;
    }
    if (accept(parser, "anchor")) {
        expect(parser, "apple");
        return accept(parser, "generic") && parser->signature->certificate != EXCSIM_AD_HOC;
    }
    if (accept(parser, "identifier")) {
        accept(parser, "=");
        read_value(parser, value, sizeof value);
        return !strcmp(parser->signature->identifier, value);
    }
    if (accept(parser, "certificate") || accept(parser, "cert")) {
        return certificate(parser);
    }
    parser->wrong = true;
    return false;
}

static bool conjunction(struct parser *parser, int depth) {
    bool holds = primary(parser, depth);
    while (!parser->wrong && accept(parser, "and")) {
        holds = primary(parser, depth) && holds;
    }
    return holds;
}

static bool disjunction(struct parser *parser, int depth) {
    bool holds = conjunction(parser, depth);
    while (!parser->wrong && accept(parser, "or")) {
        holds = conjunction(parser, depth) || holds;
    }
    return holds;
}

static int32_t evaluate(const char *text, const struct wire_signature *signature) {
    struct parser parser = {.at = text, .signature = signature};
    bool holds = disjunction(&parser, 0);
    skip_space(&parser);
    if (parser.wrong || *parser.at) {
        return STATUS_REQ_INVALID;
    }
    return holds ? STATUS_SUCCESS : STATUS_REQ_FAILED;
}

/* ---- Security ---- */

static const char audit_attribute[] = "audit";
static const void *const guest_attribute_audit = audit_attribute;

static int32_t requirement_create(const void *text, uint32_t flags, const void **requirement) {
    (void)flags;
    const struct object *string = text;
    const struct wire_signature anyone = {.certificate = EXCSIM_AD_HOC};
    if (evaluate(string->bytes, &anyone) == STATUS_REQ_INVALID) {
        return STATUS_REQ_INVALID;
    }
    *requirement = object_new(KIND_BYTES, string->bytes, string->size);
    return STATUS_SUCCESS;
}

static int32_t copy_guest(const void *host, const void *attributes, uint32_t flags, const void **code) {
    (void)host, (void)flags;
    const struct object *dictionary = attributes;
    if (!dictionary || dictionary->kind != KIND_PAIR || dictionary->key != guest_attribute_audit) {
        return STATUS_UNSUPPORTED_GUEST_ATTRIBUTES;
    }
    if (dictionary->value->size != sizeof(audit_token_t)) {
        return STATUS_INVALID_ATTRIBUTE_VALUES;
    }
    audit_token_t token;
    memcpy(&token, dictionary->value->bytes, sizeof token);
    if (CALL(WIRE_SIGNATURE, (uint64_t)audit_token_to_pid(token), (uint64_t)audit_token_to_pidversion(token))
            .result != KERN_SUCCESS) {
        return STATUS_NO_SUCH_CODE;
    }
    struct object *found = object_new(KIND_CODE, NULL, 0);
    if (found) {
        found->token = token;
    }
    *code = found;
    return STATUS_SUCCESS;
}

static int32_t check_validity(const void *code, uint32_t flags, const void *requirement) {
    (void)flags;
    const struct object *guest = code, *text = requirement;
    struct answer answer = CALL(WIRE_SIGNATURE, (uint64_t)audit_token_to_pid(guest->token),
                                (uint64_t)audit_token_to_pidversion(guest->token));
    struct wire_signature signature;
    if (answer.result != KERN_SUCCESS || answer.size != sizeof signature) {
        return STATUS_NO_SUCH_CODE;
    }
    memcpy(&signature, answer.payload, sizeof signature);
    if (!*signature.identifier) {
        return STATUS_UNSIGNED;
    }
    return text ? evaluate(text->bytes, &signature) : STATUS_SUCCESS;
}

/* ---- dlfcn.h ---- */

static const char callbacks[1]; /* only their address is used */

static const struct {
    const char *name;
    const void *data;
    void (*function)(void);
} symbols[] = {
    {"CFRelease", NULL, (void (*)(void))release},
    {"CFDataCreate", NULL, (void (*)(void))data_create},
    {"CFStringCreateWithCString", NULL, (void (*)(void))string_create},
    {"CFDictionaryCreate", NULL, (void (*)(void))dictionary_create},
    {"kCFTypeDictionaryKeyCallBacks", callbacks, NULL},
    {"kCFTypeDictionaryValueCallBacks", callbacks, NULL},
    {"kSecGuestAttributeAudit", &guest_attribute_audit, NULL},
    {"SecRequirementCreateWithString", NULL, (void (*)(void))requirement_create},
    {"SecCodeCopyGuestWithAttributes", NULL, (void (*)(void))copy_guest},
    {"SecCodeCheckValidity", NULL, (void (*)(void))check_validity},
};

static char frameworks[1]; /* the handle of both */

void *excsim_dlopen(const char *path, int mode) {
    static const char *const paths[] = {"/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation",
                                        "/System/Library/Frameworks/Security.framework/Security"};
    for (size_t at = 0; path && at < sizeof paths / sizeof *paths; at++) {
        if (!strcmp(path, paths[at])) {
            return frameworks;
        }
    }
    return dlopen(path, mode);
}

void *excsim_dlsym(void *handle, const char *symbol) {
    if (handle != frameworks) {
        return dlsym(handle, symbol);
    }
    for (size_t at = 0; at < sizeof symbols / sizeof *symbols; at++) {
        if (!strcmp(symbol, symbols[at].name)) {
            void *found;
            if (symbols[at].function) {
                memcpy(&found, &symbols[at].function, sizeof found);
            } else {
                found = (void *)(uintptr_t)symbols[at].data;
            }
            return found;
        }
    }
    return NULL;
}
