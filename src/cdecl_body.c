/* cdecl_body.c: struct, union and enum: their tags, their members, their enumerators. */
#include "cdecl_internal.h"

#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct members {
    struct member *list;     /* malloc'ed */
    size_t count, capacity;
};

static const char *keyword_of(enum type_kind kind)
{
    return kind == TYPE_ENUM ? "enum" : kind == TYPE_UNION ? "union" : "struct";
}

/* ---- Members ---- */

static struct member *add_member(struct members *members)
{
    if (members->count == members->capacity) {
        members->capacity = members->capacity ? members->capacity * 2 : 16;
        members->list = memory_resize(members->list, members->capacity * sizeof *members->list);
    }
    struct member *member = &members->list[members->count++];
    *member = (struct member){0};
    return member;
}

static void parse_width(struct parser *parser, struct member *member)
{
    const struct type *type = type_complete(member->type);
    int64_t limit = type->kind == TYPE_BOOL ? 1 : (int64_t)type->size * 8;
    int64_t width = value_parse(parser);
    const char *name = member->name ? member->name : "";
    member->is_bit_field = true;
    if (type->kind != TYPE_INT && type->kind != TYPE_BOOL && type->kind != TYPE_ENUM)
        token_fail_at(parser, &member->token, "the bit-field '%s' is no integer", name);
    else if (width < 0 || width > limit)
        token_fail_at(parser, &member->token, "the width of '%s' must be 0 to %d", name,
                      (int)limit);
    else if (width == 0 && member->name)
        token_fail_at(parser, &member->token, "the bit-field '%s' has no width", name);
    else
        member->bit_size = (uint32_t)width;
}

static void check_member(struct parser *parser, const struct member *member)
{
    char type[200];
    const struct type *plain = type_complete(member->type)->plain;
    const char *name = member->name ? member->name : "member";
    cdecl_print(type, sizeof type, member->type, "");
    if (plain->kind == TYPE_FUNCTION)
        token_fail_at(parser, &member->token, "'%s' is a function, not a pointer to one", name);
    else if (plain->kind == TYPE_VOID || plain->is_incomplete)
        token_fail_at(parser, &member->token, "'%s' has the incomplete type %s", name, type);
    else if (plain->kind == TYPE_UNSUPPORTED && plain->size == 0)
        token_fail_at(parser, &member->token, "'%s' has a type that is not supported: %s", name,
                      plain->reason ? plain->reason : type);
}

static void check_duplicate(struct parser *parser, const struct members *members)
{
    const struct member *last = &members->list[members->count - 1];
    for (size_t i = 0; last->name && i + 1 < members->count; i++)
        if (members->list[i].name == last->name)
            token_fail_at(parser, &last->token, "a second member named '%s'", last->name);
}

static void parse_member(struct parser *parser, const struct specifiers *specifiers,
                         struct members *members)
{
    struct declarator declarator = {.type = specifiers->type, .token = parser->here.token};
    if (!token_is(parser, ":"))
        declarator = declarator_parse(parser, specifiers->type, true);
    struct member *member = add_member(members);
    member->token = declarator.token;
    member->name = declarator.name;
    member->type = declarator.type;
    member->attributes = specifiers->attributes;
    specifier_add_attributes(&member->attributes, &declarator.attributes);
    if (token_accept(parser, ":"))
        parse_width(parser, member);
    else if (!member->name)
        token_fail_expected(parser, "the name of a member");
    specifier_parse_attributes(parser, &member->attributes);
    check_member(parser, member);
    check_duplicate(parser, members);
}

/* A struct or union without tag and name; what has a tag only declares that. */
static void add_anonymous(const struct specifiers *specifiers, const struct token *token,
                          struct members *members)
{
    const struct type *plain = specifiers->type->plain;
    if ((plain->kind != TYPE_STRUCT && plain->kind != TYPE_UNION) || plain->name)
        return;
    struct member *member = add_member(members);
    member->token = *token;
    member->type = specifiers->type;
    member->attributes = specifiers->attributes;
}

static void skip_assertion(struct parser *parser)
{
    token_next(parser);
    token_skip_brackets(parser);
    token_expect(parser, ";");
}

static void parse_members(struct parser *parser, struct members *members)
{
    while (!token_is(parser, "}") && !parser->has_failed) {
        if (token_accept(parser, ";"))
            continue;
        if (token_is(parser, "_Static_assert")) {
            skip_assertion(parser);
            continue;
        }
        struct token start = parser->here.token;
        struct specifiers specifiers = specifier_parse(parser);
        if (specifiers.has_storage)
            token_fail_at(parser, &start, "a member has no storage class");
        if (token_accept(parser, ";")) {
            add_anonymous(&specifiers, &start, members);
            continue;
        }
        do {
            parse_member(parser, &specifiers, members);
        } while (token_accept(parser, ","));
        token_expect(parser, ";");
    }
    token_expect(parser, "}");
}

static void parse_struct_body(struct parser *parser, struct type *type,
                              struct attributes *attributes)
{
    struct members members = {0};
    struct token start = parser->here.token;
    if (token_enter(parser))
        parse_members(parser, &members);
    token_leave(parser);
    specifier_parse_attributes(parser, attributes);
    if (!parser->has_failed &&
        !layout_fill(parser->table, type, members.list, members.count, attributes))
        token_fail_at(parser, &start, "this %s is larger than memory", keyword_of(type->kind));
    free(members.list);
}

/* ---- Enumerators ---- */

struct enumerators {
    struct enumerator *list; /* malloc'ed */
    size_t count, capacity;
    int64_t least, most;
};

static void add_enumerator(struct parser *parser, struct enumerators *enumerators,
                           const struct token *token, const char *name, int64_t value)
{
    if (parser->has_failed)
        return;
    struct name *known = names_find(parser->declarations, NAME_ENUMERATOR, name);
    if (known && known->value != value) {
        token_fail_at(parser, token, "'%s' has the value %lld already", name,
                      (long long)known->value);
        return;
    }
    if (!known)
        names_add(parser->declarations, NAME_ENUMERATOR, name, NULL)->value = value;
    if (enumerators->count == enumerators->capacity) {
        enumerators->capacity = enumerators->capacity ? enumerators->capacity * 2 : 16;
        enumerators->list = memory_resize(enumerators->list,
                                    enumerators->capacity * sizeof *enumerators->list);
    }
    enumerators->list[enumerators->count++] = (struct enumerator){name, value};
    if (value < enumerators->least)
        enumerators->least = value;
    if (value > enumerators->most)
        enumerators->most = value;
}

static void parse_enumerators(struct parser *parser, struct enumerators *enumerators)
{
    struct attributes ignored = {0};
    int64_t next = 0;
    do {
        if (token_is(parser, "}") && enumerators->count > 0)
            break;
        struct token token = parser->here.token;
        const char *name = token_take_name(parser, "the name of an enumerator");
        specifier_parse_attributes(parser, &ignored);
        if (token_accept(parser, "="))
            next = value_parse(parser);
        add_enumerator(parser, enumerators, &token, name, next);
        next = (int64_t)((uint64_t)next + 1);
    } while (token_accept(parser, ","));
    token_expect(parser, "}");
}

static const char *spelling_of_range(int64_t least, int64_t most, bool is_packed)
{
    bool is_signed = least < 0;
    if (is_packed && (is_signed ? least >= INT8_MIN && most <= INT8_MAX : most <= UINT8_MAX))
        return is_signed ? "signed char" : "unsigned char";
    if (is_packed && (is_signed ? least >= INT16_MIN && most <= INT16_MAX : most <= UINT16_MAX))
        return is_signed ? "short" : "unsigned short";
    if (is_signed ? least >= INT32_MIN && most <= INT32_MAX : most <= UINT32_MAX)
        return is_signed ? "int" : "unsigned int";
    return is_signed ? "long" : "unsigned long";
}

static void parse_enum_body(struct parser *parser, struct type *type, struct attributes *attributes)
{
    struct enumerators enumerators = {0};
    struct types *table = parser->table;
    parse_enumerators(parser, &enumerators);
    specifier_parse_attributes(parser, attributes);
    const struct type *integer = types_basic(table, spelling_of_range(
        enumerators.least, enumerators.most, attributes->is_packed));
    struct enumerator *values = types_allocate(table, (enumerators.count + 1) * sizeof *values);
    if (enumerators.count > 0)
        memcpy(values, enumerators.list, enumerators.count * sizeof *values);
    free(enumerators.list);
    type->values = values;
    type->count = enumerators.count;
    type->target = integer;
    type->is_signed = integer->is_signed;
    type->size = integer->size;
    type->align = attributes->align > integer->align ? attributes->align : integer->align;
    type->is_incomplete = false;
}

/* ---- Tags ---- */

static struct type *add_incomplete(struct parser *parser, enum type_kind kind, const char *tag)
{
    struct type *type = types_add(parser->table, kind);
    type->name = tag;
    type->is_incomplete = true;
    return type;
}

/* Is that tag defined further down? Then what the world outside knows of it does not count. */
static bool is_defined_below(struct parser *parser, enum type_kind kind, const char *tag)
{
    struct parser ahead = *parser;
    bool is_found = false;
    ahead.error = NULL;
    while (!is_found && ahead.here.token.kind != TOKEN_END) {
        if (!token_accept(&ahead, keyword_of(kind))) {
            token_next(&ahead);
            continue;
        }
        size_t length = ahead.here.token.length;
        bool is_tag = strlen(tag) == length && memcmp(ahead.here.token.start, tag, length) == 0;
        token_next(&ahead);
        is_found = is_tag && token_is(&ahead, "{");
    }
    return is_found;
}

const struct type *body_find_tag(struct parser *parser, enum type_kind kind, const char *tag)
{
    char key[300];
    snprintf(key, sizeof key, "%s %s", keyword_of(kind), tag);
    struct name *name = names_find(parser->declarations, NAME_TYPE, key);
    if (name)
        return name->type;
    const struct type *type = parser->lookup ? parser->lookup->type(parser->context, key) : NULL;
    if (type && !is_defined_below(parser, kind, tag))
        return type;
    return names_add(parser->declarations, NAME_TYPE, key,
                     add_incomplete(parser, kind, tag))->type;
}

/* The name that a body gives its tag; that of an earlier declaration or definition if there is
 * one. NULL without a tag. */
static struct name *claim_tag(struct parser *parser, enum type_kind kind, const struct token *token,
                              const char *tag)
{
    char key[300];
    if (!tag)
        return NULL;
    snprintf(key, sizeof key, "%s %s", keyword_of(kind), tag);
    struct name *name = names_find(parser->declarations, NAME_TYPE, key);
    if (!name)
        name = names_add(parser->declarations, NAME_TYPE, key, add_incomplete(parser, kind, tag));
    if (name->is_open)
        token_fail_at(parser, token, "'%s' is defined inside of itself", key);
    return name;
}

static void parse_body(struct parser *parser, struct type *type, struct attributes *attributes)
{
    token_expect(parser, "{");
    if (type->kind == TYPE_ENUM)
        parse_enum_body(parser, type, attributes);
    else
        parse_struct_body(parser, type, attributes);
}

const struct type *body_parse(struct parser *parser, enum type_kind kind)
{
    struct attributes attributes = {0};
    const char *tag = NULL;
    specifier_parse_attributes(parser, &attributes);
    struct token token = parser->here.token;
    if (token.kind == TOKEN_NAME)
        tag = token_take_name(parser, "a tag");
    else if (!token_is(parser, "{"))
        token_fail_expected(parser, "a tag or '{'");
    specifier_parse_attributes(parser, &attributes);
    if (!token_is(parser, "{") && tag)
        return body_find_tag(parser, kind, tag);
    struct name *name = claim_tag(parser, kind, &token, tag);
    if (parser->has_failed)
        return add_incomplete(parser, kind, tag);
    bool is_again = name && !name->type->is_incomplete;
    struct type *type = name && !is_again ? (struct type *)name->type
                                          : add_incomplete(parser, kind, tag);
    if (name)
        name->is_open = true;
    parse_body(parser, type, &attributes);
    if (name)
        name->is_open = false;
    if (!is_again)
        return type;
    if (!parser->has_failed && !types_same(type, name->type))
        token_fail_at(parser, &token, "'%s %s' is defined before, in another way",
                      keyword_of(kind), tag);
    return name->type;
}
