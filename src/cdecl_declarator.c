/* cdecl_declarator.c: pointers, arrays, functions and parentheses around a declared name. They are
 * read from the outside in: what follows parentheses is read first, then what is in them. */
#include "cdecl_internal.h"

#include "memory.h"

#include <stdlib.h>

enum { MAX_PARAMETERS = 1024 };

/* ---- Parameters ---- */

struct parameters {
    struct parameter *list;  /* malloc'ed */
    size_t count, capacity;
    bool is_variadic;
};

static const struct type *as_parameter(struct types *table, const struct type *type)
{
    if (type->kind == TYPE_ARRAY)
        return types_pointer_to(table, type->target);
    return type->kind == TYPE_FUNCTION ? types_pointer_to(table, type) : type;
}

static void add_parameter(struct parameters *parameters, struct parameter parameter)
{
    if (parameters->count == parameters->capacity) {
        parameters->capacity = parameters->capacity ? parameters->capacity * 2 : 8;
        parameters->list = memory_resize(parameters->list,
                                   parameters->capacity * sizeof *parameters->list);
    }
    parameters->list[parameters->count++] = parameter;
}

static void parse_parameter(struct parser *parser, struct parameters *parameters)
{
    struct token start = parser->here.token;
    struct specifiers specifiers = specifier_parse(parser);
    struct declarator declarator = declarator_parse(parser, specifiers.type, true);
    const struct type *type = as_parameter(parser->table, declarator.type);
    bool is_list_end = token_is(parser, ")") && parameters->count == 0;
    if (specifiers.is_typedef)
        token_fail_at(parser, &start, "a parameter is no typedef");
    if (type->kind != TYPE_VOID)
        add_parameter(parameters, (struct parameter){declarator.name, type});
    else if (!is_list_end || declarator.name)
        token_fail_at(parser, &start, "a parameter has no type: void stands alone");
    if (parameters->count > MAX_PARAMETERS)
        token_fail(parser, "more than %d parameters", MAX_PARAMETERS);
}

static void parse_parameters(struct parser *parser, struct parameters *parameters)
{
    while (!parser->has_failed) {
        if (token_accept(parser, "...")) {
            parameters->is_variadic = true;
            break;
        }
        parse_parameter(parser, parameters);
        if (!token_accept(parser, ","))
            break;
    }
}

static const struct type *make_function(struct parser *parser, const struct type *result,
                                        const struct parameters *parameters)
{
    struct type *type = types_add(parser->table, TYPE_FUNCTION);
    struct parameter *copy = types_allocate(parser->table, (parameters->count + 1) * sizeof *copy);
    for (size_t i = 0; i < parameters->count; i++)
        copy[i] = parameters->list[i];
    type->parameters = copy;
    type->count = parameters->count;
    type->is_variadic = parameters->is_variadic;
    type->target = result;
    return type;
}

/* ---- What follows the name ---- */

static const struct type *parse_suffixes(struct parser *parser, const struct type *base);

static const struct type *parse_function(struct parser *parser, const struct type *base)
{
    struct parameters parameters = {0};
    struct token start = parser->here.token;
    token_next(parser);
    bool is_unprototyped = token_is(parser, ")");
    if (!is_unprototyped)
        parse_parameters(parser, &parameters);
    token_expect(parser, ")");
    const struct type *result = parse_suffixes(parser, base);
    if (result->kind == TYPE_ARRAY || result->kind == TYPE_FUNCTION)
        token_fail_at(parser, &start, "a function cannot return %s",
                      result->kind == TYPE_ARRAY ? "an array" : "a function");
    struct type *type = (struct type *)make_function(parser, result, &parameters);
    type->is_unprototyped = is_unprototyped;
    free(parameters.list);
    return type;
}

/* Between the brackets: 0 if open, or known only when C runs, as `int rows[n]` of a parameter. */
static int64_t parse_bound(struct parser *parser)
{
    bool ignored = false;
    while (token_accept(parser, "static") || specifier_accept_qualifier(parser, &ignored, &ignored))
        continue;
    if (token_is(parser, "]"))
        return 0;
    struct mark before = parser->here;
    if (parser->parameter_depth > 0 && token_accept(parser, "*") && token_is(parser, "]"))
        return 0;
    parser->here = before;
    if (parser->parameter_depth > 0 && before.token.kind == TOKEN_NAME) {
        const char *name = token_take_name(parser, "a bound");
        bool is_constant = names_find(parser->declarations, NAME_ENUMERATOR, name) != NULL;
        if (token_is(parser, "]") && !is_constant)
            return 0;
        parser->here = before;
    }
    return value_parse(parser);
}

static const struct type *parse_array(struct parser *parser, const struct type *base)
{
    struct token start = parser->here.token;
    token_next(parser);
    int64_t count = parse_bound(parser);
    token_expect(parser, "]");
    if (count < 0)
        token_fail_at(parser, &start, "an array of %lld elements", (long long)count);
    const struct type *element = type_complete(parse_suffixes(parser, base));
    if (element->kind == TYPE_FUNCTION || element->kind == TYPE_VOID)
        token_fail_at(parser, &start, "an array cannot hold %s",
                      element->kind == TYPE_VOID ? "void" : "functions");
    if (parser->has_failed)
        return base;
    const struct type *type = types_array_of(parser->table, element, (uint64_t)count);
    if (type->kind == TYPE_UNSUPPORTED)
        token_fail_at(parser, &start, "%s", type->reason);
    return type;
}

static const struct type *parse_suffixes(struct parser *parser, const struct type *base)
{
    bool is_array = token_is(parser, "["), is_function = token_is(parser, "(");
    if ((!is_array && !is_function) || !token_enter(parser))
        return base;
    parser->parameter_depth += is_function;
    const struct type *type = is_array ? parse_array(parser, base) : parse_function(parser, base);
    parser->parameter_depth -= is_function;
    token_leave(parser);
    return type;
}

/* ---- The whole ---- */

static const struct type *parse_pointers(struct parser *parser, const struct type *type)
{
    struct attributes ignored = {0};
    specifier_parse_attributes(parser, &ignored);
    while (token_accept(parser, "*")) {
        bool is_const = false, is_volatile = false;
        type = types_pointer_to(parser->table, type);
        do {
            specifier_parse_attributes(parser, &ignored);
        } while (specifier_accept_qualifier(parser, &is_const, &is_volatile));
        type = types_qualified(parser->table, type, is_const, is_volatile);
    }
    return type;
}

/* Does this parenthesis hold a declarator, not parameters? */
static bool is_nested(struct parser *parser)
{
    struct mark before = parser->here;
    struct attributes ignored = {0};
    if (!token_accept(parser, "("))
        return false;
    if (token_is(parser, "__attribute__"))
        specifier_parse_attributes(parser, &ignored);
    bool is_declarator = token_is(parser, "*") || token_is(parser, "(") || token_is(parser, "[") ||
                         (parser->here.token.kind == TOKEN_NAME && !specifier_is_start(parser));
    if (!parser->has_failed)
        parser->here = before;
    return is_declarator;
}

static void parse_nested(struct parser *parser, struct declarator *declarator, bool allows_name)
{
    struct mark inside = parser->here;
    token_skip_brackets(parser);
    const struct type *type = parse_suffixes(parser, declarator->type);
    struct mark behind = parser->here;
    if (!parser->has_failed && token_enter(parser)) {
        parser->here = inside;
        token_next(parser);
        *declarator = declarator_parse(parser, type, allows_name);
        token_expect(parser, ")");
    }
    token_leave(parser);
    if (!parser->has_failed)
        parser->here = behind;
}

struct declarator declarator_parse(struct parser *parser, const struct type *base, bool allows_name)
{
    struct declarator declarator = {.type = parse_pointers(parser, base)};
    declarator.token = parser->here.token;
    if (is_nested(parser)) {
        parse_nested(parser, &declarator, allows_name);
        specifier_parse_attributes(parser, &declarator.attributes);
        return declarator;
    }
    if (allows_name && parser->here.token.kind == TOKEN_NAME) {
        declarator.name = token_take_name(parser, "a name");
        specifier_parse_attributes(parser, &declarator.attributes);
    }
    declarator.type = parse_suffixes(parser, declarator.type);
    specifier_parse_attributes(parser, &declarator.attributes);
    return declarator;
}
