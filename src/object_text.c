/* object_text.c: objects as text: the C type and the values of its parts. Pointers inside are shown, not
 * followed. Memory outside Lua is read through the kernel, so that printing never crashes. */
#include "object_internal.h"

#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_TEXT = 1000, MAX_ELEMENTS = 16, MAX_STRING = 64, MAX_DEPTH = 8, MAX_COPY = 1 << 16 };

struct text {
    lua_State *L;
    size_t length;
    char bytes[MAX_TEXT + 8];
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    if (text->length >= MAX_TEXT)
        return;
    va_start(arguments, format);
    int length = vsnprintf(text->bytes + text->length, MAX_TEXT - text->length, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
    if (text->length >= MAX_TEXT) {
        strcpy(text->bytes + MAX_TEXT - 1, "...");
        text->length = MAX_TEXT;
    }
}

/* Copy memory that may not be there. Returns the bytes that were. */
static size_t read_safely(void *to, const void *from, size_t size)
{
    struct iovec local = {to, size}, remote = {(void *)from, size};
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return got > 0 ? (size_t)got : 0;
}

/* A C string up to its end, MAX_STRING characters or the end of readable memory. */
static void add_string(struct text *text, const char *string)
{
    char bytes[MAX_STRING + 1] = "";
    size_t got = 0, room = 4096 - (uintptr_t)string % 4096;
    got = read_safely(bytes, string, room < MAX_STRING ? room : MAX_STRING);
    if (got == room && got < MAX_STRING && !memchr(bytes, 0, got))
        got += read_safely(bytes + got, string + got, MAX_STRING - got);
    if (got == 0)
        add(text, "%p", (const void *)string);
    else
        add(text, "\"%s\"%s", bytes, memchr(bytes, 0, got) ? "" : "...");
}

static void add_value(struct text *text, const struct type *type, const char *address, int depth);

static void add_integer(struct text *text, const struct type *plain, const char *address)
{
    object_push(text->L, plain, (void *)address, NULL, false);
    lua_Integer value = lua_tointeger(text->L, -1);
    lua_pop(text->L, 1);
    for (uint64_t i = 0; plain->kind == TYPE_ENUM && i < plain->count; i++)
        if (plain->values[i].value == value) {
            add(text, "%s", plain->values[i].name);
            return;
        }
    if (plain->is_signed)
        add(text, "%lld", (long long)value);
    else
        add(text, "%llu", (unsigned long long)value);
}

static void add_scalar(struct text *text, const struct type *plain, const char *address)
{
    const char *pointer;
    switch (plain->kind) {
    case TYPE_INT: case TYPE_ENUM:
        add_integer(text, plain, address);
        break;
    case TYPE_POINTER:
        memcpy(&pointer, address, sizeof pointer);
        if (!pointer)
            add(text, "NULL");
        else if (plain->target->is_const && type_is_text(plain->target))
            add_string(text, pointer);
        else
            add(text, "%p", (const void *)pointer);
        break;
    case TYPE_BOOL: case TYPE_FLOAT:
        object_push(text->L, plain, (void *)address, NULL, false);
        add(text, "%s", luaL_tolstring(text->L, -1, NULL));
        lua_pop(text->L, 2);
        break;
    case TYPE_COMPLEX:
        object_push(text->L, plain, (void *)address, NULL, false);
        lua_rawgeti(text->L, -1, 1);
        lua_rawgeti(text->L, -2, 2);
        add(text, "%.14g + %.14gi", lua_tonumber(text->L, -2), lua_tonumber(text->L, -1));
        lua_pop(text->L, 3);
        break;
    default:
        add(text, "?");
    }
}

static void add_list(struct text *text, const struct type *element, uint64_t count, const char *address,
                     int depth)
{
    uint64_t size = type_plain(element)->size;
    if (type_is_text(element) && count > 0) {
        add(text, "\"%.*s\"", (int)(count < MAX_TEXT ? count : MAX_TEXT), address);
        return;
    }
    add(text, "{");
    for (uint64_t i = 0; i < count && i < MAX_ELEMENTS && text->length < MAX_TEXT; i++) {
        add(text, i > 0 ? ", " : " ");
        add_value(text, element, address + i * size, depth + 1);
    }
    add(text, count > MAX_ELEMENTS ? ", ... }" : " }");
}

static void add_bits(struct text *text, const struct field *field, const char *address)
{
    uint64_t bits = object_load_bits(address, field->bit_offset, field->bit_size);
    const struct type *plain = type_plain(field->type);
    unsigned unused = 64u - field->bit_size;
    if (plain->kind == TYPE_BOOL)
        add(text, "%s", bits ? "true" : "false");
    else if (plain->is_signed)
        add(text, "%lld", (long long)((int64_t)(bits << unused) >> unused));
    else
        add(text, "%llu", (unsigned long long)bits);
}

/* The fields, those of anonymous members among them. Returns whether there was any. */
static bool add_fields(struct text *text, const struct type *record, const char *address, bool is_first,
                       int depth)
{
    for (uint64_t i = 0; i < record->count && text->length < MAX_TEXT; i++) {
        const struct field *field = &record->fields[i];
        const struct type *plain = type_plain(field->type);
        if (!field->name) {
            bool is_record = plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION;
            is_first = is_record ? add_fields(text, plain, address + field->offset, is_first, depth)
                                 : is_first;
            continue;
        }
        add(text, is_first ? " %s = " : ", %s = ", field->name);
        if (field->bit_size)
            add_bits(text, field, address + field->offset);
        else
            add_value(text, field->type, address + field->offset, depth + 1);
        is_first = false;
    }
    return is_first;
}

static void add_value(struct text *text, const struct type *type, const char *address, int depth)
{
    const struct type *plain = type_plain(type);
    bool is_record = plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION;
    luaL_checkstack(text->L, 10, NULL);
    if (depth > MAX_DEPTH)
        add(text, "{...}");
    else if (plain->kind == TYPE_ARRAY && plain->is_flexible)
        add(text, "{...}");
    else if (plain->kind == TYPE_ARRAY)
        add_list(text, plain->target, plain->count, address, depth);
    else if (!is_record)
        add_scalar(text, plain, address);
    else {
        add(text, "{");
        add_fields(text, plain, address, true, depth);
        add(text, " }");
    }
}

/* A pointer: what it points to if that is a struct that can be read, otherwise the address. */
static void add_pointer(struct text *text, struct object *object)
{
    const struct type *record = object->class->record ? type_complete(object->class->record) : NULL;
    char name[256];
    add(text, "%s", object_spell(object->class->type, name, sizeof name));
    bool is_readable = record && !record->is_incomplete && record->size <= MAX_COPY && object->address;
    if (is_readable) {
        char *copy = lua_newuserdatauv(text->L, record->size + 1, 0);
        if (read_safely(copy, object->address, record->size) == record->size) {
            add(text, " ");
            add_value(text, record, copy, 0);
            return;
        }
    }
    if (object->address)
        add(text, ": %p", object->address);
    else
        add(text, ": NULL");
}

int object_tostring(lua_State *L)
{
    struct object *object = object_check(L, 1);
    const struct type *type = object->class->type;
    struct text text = {.L = L};
    char name[256];
    if (object->flags & OBJECT_CHECKED)
        object_revalidate(L, 1, object);
    if (object->flags & OBJECT_POINTER) {
        add_pointer(&text, object);
    } else if (type->kind == TYPE_ARRAY && type_is_text(type->target) &&
               object->count != OBJECT_UNBOUNDED) {
        lua_pushlstring(L, object->address, strnlen(object->address, object->count));
        return 1;
    } else {
        add(&text, "%s ", object_spell(type, name, sizeof name));
        if (type->kind == TYPE_ARRAY && object->count != OBJECT_UNBOUNDED)
            add_list(&text, type->target, object->count, object->address, 0);
        else if (type->kind == TYPE_ARRAY)
            add(&text, "{...}");
        else
            add_value(&text, type, object->address, 0);
    }
    lua_pushlstring(L, text.bytes, strlen(text.bytes));
    return 1;
}

/* Only text may be joined to text: arrays of characters. */
int object_concat(lua_State *L)
{
    for (int i = 1; i <= 2; i++) {
        struct object *object = object_test(L, i);
        bool is_text = object && object->class->type->kind == TYPE_ARRAY &&
                       type_is_text(object->class->type->target);
        if (object && !is_text)
            return luaL_error(L, "attempt to concatenate a C object ('%s')",
                              luaL_tolstring(L, i, NULL));
        if (!object && !lua_isstring(L, i))
            return luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, i));
    }
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}
