/* cdecl_print.c: types as C text: declarations, and definitions over several lines. Reads types,
 * also lazy ones where a definition needs them, and changes none. */
#include "cdecl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, COMMENT_COLUMN = 40, LONGEST = 1 << 20 };

struct output {
    char *buffer;
    size_t size, length;     /* length: of all there is to say, also what did not fit */
    size_t line_start;
    bool wants_space;        /* a word was last; another must not touch it */
    bool has_bodies;         /* write structs without name with their members */
    bool has_layout;
    int indent, depth;
};

static void print_body(struct output *out, const struct type *type, uint64_t offset);
static void print_declaration(struct output *out, const struct type *type, const char *name,
                              uint64_t offset);

static void print(struct output *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print(struct output *out, const char *format, ...)
{
    bool has_room = out->length < out->size;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(has_room ? out->buffer + out->length : NULL,
                           has_room ? out->size - out->length : 0, format, arguments);
    va_end(arguments);
    out->length += length > 0 ? (size_t)length : 0;
}

static void print_word(struct output *out, const char *word)
{
    print(out, "%s%s", out->wants_space ? " " : "", word);
    out->wants_space = true;
}

/* A sign that stands apart from a word before it, but not from what follows. */
static void print_sign(struct output *out, const char *sign)
{
    print_word(out, sign);
    out->wants_space = false;
}

static void print_qualifiers(struct output *out, const struct type *type)
{
    if (type->is_const)
        print_word(out, "const");
    if (type->is_volatile)
        print_word(out, "volatile");
}

static const char *keyword_of(const struct type *type)
{
    return type->kind == TYPE_STRUCT ? "struct" : type->kind == TYPE_UNION ? "union" : "enum";
}

/* ---- Declarations ---- */

static void print_tagged(struct output *out, const struct type *type, uint64_t offset)
{
    if (type->name && type->is_typedef_name) {
        print_word(out, type->name);
        return;
    }
    print_word(out, keyword_of(type));
    if (type->name)
        print_word(out, type->name);
    else if (out->has_bodies && out->depth < MAX_DEPTH && out->length < LONGEST)
        print_body(out, type, offset);
    else
        print_word(out, "{...}");
}

static void print_base(struct output *out, const struct type *type, uint64_t offset)
{
    print_qualifiers(out, type);
    if (type->alias)
        print_word(out, type->alias);
    else if (type->kind == TYPE_STRUCT || type->kind == TYPE_UNION || type->kind == TYPE_ENUM)
        print_tagged(out, type, offset);
    else if (type->name)
        print_word(out, type->name);
    else if (type->kind == TYPE_UNSUPPORTED)
        print(out, "%s/* %s */", out->wants_space ? " " : "",
              type->reason ? type->reason : "not supported");
    else
        print_word(out, "void");
    out->wants_space = true;
}

static bool is_derived(const struct type *type)
{
    bool has_target = type->kind == TYPE_POINTER || type->kind == TYPE_ARRAY ||
                      type->kind == TYPE_FUNCTION;
    return has_target && type->target && !type->alias;
}

static bool needs_parentheses(const struct type *pointee)
{
    return is_derived(pointee) && pointee->kind != TYPE_POINTER;
}

/* What stands before the name. */
static void print_before(struct output *out, const struct type *type, uint64_t offset)
{
    if (!is_derived(type) || out->depth >= MAX_DEPTH) {
        print_base(out, type, offset);
        return;
    }
    out->depth++;
    print_before(out, type->target, offset);
    out->depth--;
    if (type->kind != TYPE_POINTER)
        return;
    print_sign(out, needs_parentheses(type->target) ? "(*" : "*");
    print_qualifiers(out, type);
}

static void print_parameters(struct output *out, const struct type *type)
{
    bool had_bodies = out->has_bodies;
    out->has_bodies = false;
    print_sign(out, "(");
    for (uint64_t i = 0; i < type->count; i++) {
        const char *name = type->parameters[i].name;
        print(out, "%s", i > 0 ? ", " : "");
        print_declaration(out, type->parameters[i].type, name ? name : "", 0);
    }
    if (type->is_variadic)
        print(out, "%s...", type->count > 0 ? ", " : "");
    else if (type->count == 0 && !type->is_unprototyped)
        print(out, "void");
    print(out, ")");
    out->wants_space = false;
    out->has_bodies = had_bodies;
}

/* What stands behind it. */
static void print_behind(struct output *out, const struct type *type)
{
    if (!is_derived(type) || out->depth >= MAX_DEPTH)
        return;
    out->depth++;
    if (type->kind == TYPE_POINTER && needs_parentheses(type->target)) {
        print(out, ")");
        out->wants_space = false;
    } else if (type->kind == TYPE_ARRAY && type->is_flexible) {
        print(out, "[]");
    } else if (type->kind == TYPE_ARRAY) {
        print(out, "[%" PRIu64 "]", type->count);
    } else if (type->kind == TYPE_FUNCTION) {
        print_parameters(out, type);
    }
    print_behind(out, type->target);
    out->depth--;
}

static void print_declaration(struct output *out, const struct type *type, const char *name,
                              uint64_t offset)
{
    out->wants_space = false;
    print_before(out, type, offset);
    if (*name) {
        print_word(out, name);
        out->wants_space = false;
    }
    print_behind(out, type);
}

size_t cdecl_print(char *buffer, size_t size, const struct type *type, const char *name)
{
    struct output out = {.buffer = buffer, .size = size};
    if (size > 0)
        buffer[0] = 0;
    print_declaration(&out, type, name, 0);
    return out.length;
}

/* ---- Definitions ---- */

static void start_line(struct output *out)
{
    out->line_start = out->length;
    print(out, "%*s", out->indent * 4, "");
}

/* A comment at the end of the line, aligned where the line is short. */
static void start_comment(struct output *out)
{
    size_t width = out->length - out->line_start;
    print(out, "%*s/* ", width < COMMENT_COLUMN ? (int)(COMMENT_COLUMN - width) : 2, "");
}

static void print_member(struct output *out, const struct field *field, uint64_t offset)
{
    start_line(out);
    print_declaration(out, field->type, field->name ? field->name : "", offset + field->offset);
    if (field->bit_size > 0)
        print(out, " : %d", field->bit_size);
    print(out, ";");
    if (out->has_layout) {
        start_comment(out);
        print(out, "%" PRIu64, offset + field->offset);
        if (field->bit_size > 0)
            print(out, ".%d: %d bit%s */", field->bit_offset, field->bit_size,
                  field->bit_size == 1 ? "" : "s");
        else
            print(out, ": %" PRIu64 " */", field->type->size);
    }
    print(out, "\n");
}

static void print_enumerator(struct output *out, const struct enumerator *value)
{
    start_line(out);
    print(out, "%s = %" PRId64 ",\n", value->name, value->value);
}

/* Natural alignment of what is in it, and whether every member lies as that asks. */
static uint32_t natural_align(const struct type *type, bool *is_packed)
{
    uint32_t align = 1;
    *is_packed = false;
    for (uint64_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        uint32_t own = type_complete(field->type)->align;
        *is_packed |= field->offset % own != 0;
        if (own > align)
            align = own;
    }
    *is_packed |= type->size % align != 0;
    return align;
}

static void print_attributes(struct output *out, const struct type *type)
{
    bool is_packed;
    uint32_t align = natural_align(type, &is_packed);
    if (is_packed && type->align > 1)
        print(out, " __attribute__((packed, aligned(%" PRIu32 ")))", type->align);
    else if (is_packed)
        print(out, " __attribute__((packed))");
    else if (type->align > align)
        print(out, " __attribute__((aligned(%" PRIu32 ")))", type->align);
}

/* From the opening brace to the closing one, and attributes; `offset` is where it lies in the
 * outermost struct. */
static void print_body(struct output *out, const struct type *type, uint64_t offset)
{
    type_complete(type);
    print(out, " {\n");
    out->indent++;
    out->depth++;
    for (uint64_t i = 0; i < type->count && type->kind != TYPE_ENUM; i++)
        print_member(out, &type->fields[i], offset);
    for (uint64_t i = 0; i < type->count && type->kind == TYPE_ENUM; i++)
        print_enumerator(out, &type->values[i]);
    out->depth--;
    out->indent--;
    start_line(out);
    print(out, "}");
    if (type->kind != TYPE_ENUM)
        print_attributes(out, type);
    out->wants_space = true;
}

static void print_tagged_definition(struct output *out, const struct type *type)
{
    bool is_typedef = type->is_typedef_name && type->name;
    print(out, "%s%s%s%s", is_typedef ? "typedef " : "", keyword_of(type),
          type->name && !is_typedef ? " " : "", type->name && !is_typedef ? type->name : "");
    if (!type->is_incomplete)
        print_body(out, type, 0);
    if (is_typedef)
        print(out, " %s", type->name);
    print(out, ";");
    if (out->has_layout && !type->is_incomplete) {
        start_comment(out);
        print(out, "size %" PRIu64 ", align %" PRIu32 " */", type->size, type->align);
    }
    print(out, "\n");
}

static void print_definition(struct output *out, const struct type *type)
{
    const struct type *plain = type->plain;
    bool is_tagged = plain->kind == TYPE_STRUCT || plain->kind == TYPE_UNION ||
                     plain->kind == TYPE_ENUM;
    if (is_tagged) {
        print_tagged_definition(out, plain);
        return;
    }
    if (type->alias)
        print(out, "typedef ");
    print_declaration(out, plain, type->alias ? type->alias : "", 0);
    print(out, ";\n");
}

char *cdecl_print_definition(const struct type *type, bool with_layout)
{
    struct output out = {.has_bodies = true, .has_layout = with_layout};
    type_complete(type);
    type_complete(type->plain);
    print_definition(&out, type);
    char *text = malloc(out.length + 1);
    if (!text)
        return NULL;
    out = (struct output){text, out.length + 1, .has_bodies = true, .has_layout = with_layout};
    text[0] = 0;
    print_definition(&out, type);
    return text;
}
