/* cdecl_parse.c: C declarations and type expressions to types: the outermost level of the text. */
#include "cdecl_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- Declaring ---- */

/* May the later declaration of the same name take the place of the earlier one? It does where it
 * says more: parameters, or the bound of an array. */
static bool is_compatible(const struct type *earlier, const struct type *later)
{
    if (earlier->kind == TYPE_FUNCTION && later->kind == TYPE_FUNCTION &&
        (earlier->is_unprototyped || later->is_unprototyped))
        return types_same(earlier->target, later->target);
    if (earlier->kind == TYPE_ARRAY && later->kind == TYPE_ARRAY &&
        (earlier->is_flexible || later->is_flexible))
        return types_same(earlier->target, later->target);
    return earlier->is_const == later->is_const && types_same(earlier, later);
}

static bool says_more(const struct type *earlier, const struct type *later)
{
    return (earlier->is_unprototyped && !later->is_unprototyped) ||
           (earlier->is_flexible && !later->is_flexible);
}

static void declare(struct parser *parser, enum name_kind kind,
                    const struct declarator *declarator)
{
    char before[200];
    struct name *known = names_find(parser->declarations, kind, declarator->name);
    if (!known) {
        names_add(parser->declarations, kind, declarator->name, declarator->type);
    } else if (!is_compatible(known->type, declarator->type)) {
        const struct type *shown = kind == NAME_TYPE ? known->type->plain : known->type;
        cdecl_print(before, sizeof before, shown, declarator->name);
        token_fail_at(parser, &declarator->token, "'%s' is declared before as %s",
                      declarator->name, before);
    } else if (says_more(known->type, declarator->type)) {
        known->type = declarator->type;
    }
}

static bool is_tagged(const struct type *type)
{
    return type->kind == TYPE_STRUCT || type->kind == TYPE_UNION || type->kind == TYPE_ENUM;
}

/* A struct without tag takes the name of the first typedef that is it. */
static void declare_typedef(struct parser *parser, struct declarator *declarator, uint32_t align)
{
    struct type *type = (struct type *)declarator->type;
    if (is_tagged(type) && type->plain == type && !type->name) {
        type->name = declarator->name;
        type->is_typedef_name = true;
    }
    const struct type *aligned = specifier_align(parser->table, declarator->type, align);
    declarator->type = types_aliased(parser->table, aligned, declarator->name);
    declare(parser, NAME_TYPE, declarator);
}

static void declare_symbol(struct parser *parser, const struct declarator *declarator)
{
    if (declarator->type->kind == TYPE_VOID)
        token_fail_at(parser, &declarator->token, "the variable '%s' is void", declarator->name);
    else
        declare(parser, NAME_SYMBOL, declarator);
}

static void refuse_rest(struct parser *parser, const struct declarator *declarator)
{
    if (token_is(parser, "{"))
        token_fail(parser, "'%s' has a body: only declarations are understood here",
                   declarator->name);
    else if (token_is(parser, "="))
        token_fail(parser, "'%s' has an initial value: only declarations are understood here",
                   declarator->name);
    else if (token_is(parser, ":"))
        token_fail(parser, "a bit-field outside of a struct");
}

static void parse_declarator(struct parser *parser, const struct specifiers *specifiers)
{
    struct attributes attributes = specifiers->attributes;
    struct declarator declarator = declarator_parse(parser, specifiers->type, true);
    if (!declarator.name)
        token_fail_expected(parser, "a name");
    specifier_add_attributes(&attributes, &declarator.attributes);
    refuse_rest(parser, &declarator);
    if (parser->has_failed)
        return;
    if (specifiers->is_typedef)
        declare_typedef(parser, &declarator, attributes.align);
    else
        declare_symbol(parser, &declarator);
}

/* The text's last declaration may lack its semicolon. */
static void expect_end(struct parser *parser)
{
    if (parser->here.token.kind != TOKEN_END)
        token_expect(parser, ";");
}

static void parse_declaration(struct parser *parser)
{
    if (token_accept(parser, ";"))
        return;
    if (token_accept(parser, "_Static_assert")) {
        token_skip_brackets(parser);
        expect_end(parser);
        return;
    }
    struct specifiers specifiers = specifier_parse(parser);
    bool is_alone = token_is(parser, ";") || parser->here.token.kind == TOKEN_END;
    if (!specifiers.is_body || !is_alone)
        do {
            parse_declarator(parser, &specifiers);
        } while (token_accept(parser, ","));
    expect_end(parser);
}

/* ---- The two ways in ---- */

static bool start(struct parser *parser, const char *text)
{
    parser->declarations = names_new(parser->table);
    if (!parser->declarations)
        return error_set(parser->error, "no memory for C declarations");
    types_lock(parser->table);
    token_start(parser, text);
    return true;
}

struct declarations *cdecl_parse(struct types *table, const char *text,
                                 const struct cdecl_lookup *lookup, void *context,
                                 struct error *error)
{
    struct parser parser = {.table = table, .lookup = lookup, .context = context, .error = error};
    if (!start(&parser, text))
        return NULL;
    while (parser.here.token.kind != TOKEN_END)
        parse_declaration(&parser);
    types_unlock(table);
    if (!parser.has_failed)
        return parser.declarations;
    cdecl_free(parser.declarations);
    return NULL;
}

/* A struct that is neither here nor outside is a slip of the pen, unless it is only pointed to. */
static void check_known(struct parser *parser, const struct token *token, const struct type *type)
{
    char text[200];
    while (type->kind == TYPE_ARRAY)
        type = type->target;
    if (!is_tagged(type) || !type_complete(type)->is_incomplete)
        return;
    cdecl_print(text, sizeof text, type, "");
    token_fail_at(parser, token, "unknown type '%s'", text);
}

const struct type *cdecl_parse_type(struct types *table, const char *text,
                                    const struct cdecl_lookup *lookup, void *context,
                                 struct error *error)
{
    struct parser parser = {.table = table, .lookup = lookup, .context = context, .error = error,
                            .is_expression = true};
    if (!start(&parser, text))
        return NULL;
    struct token first = parser.here.token;
    const struct type *type = specifier_parse_type_name(&parser);
    if (!parser.has_failed && parser.here.token.kind != TOKEN_END)
        token_fail_expected(&parser, "the end of the type");
    if (!parser.has_failed)
        check_known(&parser, &first, type);
    types_unlock(table);
    cdecl_free(parser.declarations);
    return parser.has_failed ? NULL : type;
}
