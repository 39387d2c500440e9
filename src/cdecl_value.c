/* cdecl_value.c: integer constant expressions, with C's own types and conversions. */
#include "cdecl_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct value {
    uint64_t bits;           /* sign-extended to 64 bits if signed */
    bool is_unsigned;
    uint8_t size;            /* 4 or 8 bytes */
};

static struct value parse_condition(struct parser *parser);

static struct value make_value(uint64_t bits, bool is_unsigned, uint8_t size)
{
    if (size == 4)
        bits = is_unsigned ? (uint32_t)bits : (uint64_t)(int64_t)(int32_t)bits;
    return (struct value){bits, is_unsigned, size};
}

static struct value make_int(int64_t number)
{
    return make_value((uint64_t)number, false, 4);
}

/* ---- Constants ---- */

static struct value parse_number(struct parser *parser)
{
    const struct token *token = &parser->here.token;
    char *end, digits[80] = "";
    struct value none = make_int(0);
    if (token->length >= sizeof digits) {
        token_fail(parser, "a number of too many digits");
        return none;
    }
    memcpy(digits, token->start, token->length);
    bool is_binary = digits[0] == '0' && (digits[1] | 32) == 'b';
    errno = 0;
    uint64_t bits = strtoull(digits + 2 * is_binary, &end, is_binary ? 2 : 0);
    bool is_long = false, is_unsigned = false, is_decimal = digits[0] != '0';
    bool is_valid = errno == 0 && end > digits;
    for (; *end && is_valid; end++) {
        is_long |= (*end | 32) == 'l';
        is_unsigned |= (*end | 32) == 'u';
        is_valid = strchr("uUlL", *end) != NULL;
    }
    if (!is_valid) {
        token_fail(parser, "'%s' is not an integer that C has", digits);
        return none;
    }
    token_next(parser);
    if (!is_long && bits <= INT32_MAX)
        return make_value(bits, is_unsigned, 4);
    if (!is_long && bits <= UINT32_MAX && (is_unsigned || !is_decimal))
        return make_value(bits, true, 4);
    return make_value(bits, is_unsigned || bits > INT64_MAX, 8);
}

static int parse_escape(const char **text)
{
    static const char letters[] = "abfnrtve\\'\"?", codes[] = "\a\b\f\n\r\t\v\033\\'\"?";
    char *end;
    if (**text >= '0' && **text <= '7') {
        int code = 0;
        for (int i = 0; i < 3 && **text >= '0' && **text <= '7'; i++)
            code = code * 8 + *(*text)++ - '0';
        return code;
    }
    if (**text == 'x') {
        int code = (int)strtoul(*text + 1, &end, 16);
        *text = end;
        return code;
    }
    const char *letter = strchr(letters, *(*text)++);
    return letter ? codes[letter - letters] : -1;
}

static struct value parse_character(struct parser *parser)
{
    const char *text = parser->here.token.start + 1;
    const char *end = parser->here.token.start + parser->here.token.length - 1;
    int code = (unsigned char)*text++;
    if (code == '\\' && text < end)
        code = parse_escape(&text);
    if (text != end || code < 0)
        token_fail(parser, "not a constant of one character");
    token_next(parser);
    return make_int((char)code);
}

static struct value parse_enumerator(struct parser *parser)
{
    struct token token = parser->here.token;
    const char *text = token_take_name(parser, "a constant");
    const struct name *name = names_find(parser->declarations, NAME_ENUMERATOR, text);
    const struct cdecl_lookup *lookup = parser->lookup;
    int64_t value = name ? name->value : 0;
    if (!name && !(lookup && lookup->constant(parser->context, text, &value)))
        token_fail_at(parser, &token, "unknown constant '%s'", text);
    bool is_int = value >= INT32_MIN && value <= INT32_MAX;
    return make_value((uint64_t)value, false, is_int ? 4 : 8);
}

static struct value parse_cast(struct parser *parser);

/* sizeof and _Alignof, of a type or of an expression. */
static struct value parse_measure(struct parser *parser, bool is_size)
{
    struct mark before = parser->here;
    uint64_t measure;
    if (token_accept(parser, "(") && specifier_is_start(parser)) {
        const struct type *type = type_complete(specifier_parse_type_name(parser));
        if (type->is_incomplete || type->kind == TYPE_VOID || type->kind == TYPE_FUNCTION ||
            type->kind == TYPE_UNSUPPORTED)
            token_fail_at(parser, &before.token, "the size of that type is not known");
        token_expect(parser, ")");
        measure = is_size ? type->size : type->align;
    } else {
        if (!parser->has_failed)
            parser->here = before;
        measure = parse_cast(parser).size;
    }
    return make_value(measure, true, sizeof(size_t));
}

/* ---- Operators ---- */

static struct value parse_unary(struct parser *parser)
{
    struct value operand;
    if (token_accept(parser, "+"))
        return parse_cast(parser);
    if (token_accept(parser, "-")) {
        operand = parse_cast(parser);
        return make_value(-operand.bits, operand.is_unsigned, operand.size);
    }
    if (token_accept(parser, "~")) {
        operand = parse_cast(parser);
        return make_value(~operand.bits, operand.is_unsigned, operand.size);
    }
    if (token_accept(parser, "!"))
        return make_int(parse_cast(parser).bits == 0);
    if (token_accept(parser, "sizeof"))
        return parse_measure(parser, true);
    if (token_accept(parser, "_Alignof") || token_accept(parser, "__alignof__"))
        return parse_measure(parser, false);
    switch (parser->here.token.kind) {
    case TOKEN_NUMBER:
        return parse_number(parser);
    case TOKEN_CHARACTER:
        return parse_character(parser);
    case TOKEN_NAME:
        return parse_enumerator(parser);
    default:
        token_fail_expected(parser, "a constant");
        return make_int(0);
    }
}

static struct value convert(struct parser *parser, struct value value, const struct type *type)
{
    type_complete(type);
    bool is_bool = type->kind == TYPE_BOOL;
    if ((type->kind != TYPE_INT && type->kind != TYPE_ENUM && !is_bool) || type->size > 8 ||
        type->size == 0) {
        token_fail(parser, "only casts to integers of up to 64 bits are constants here");
        return value;
    }
    if (is_bool)
        return make_int(value.bits != 0);
    unsigned shift = 64 - (unsigned)type->size * 8;
    uint64_t bits = value.bits << shift;
    bits = type->is_signed ? (uint64_t)((int64_t)bits >> shift) : bits >> shift;
    if (type->size < 4)
        return make_value(bits, false, 4);
    return make_value(bits, !type->is_signed, (uint8_t)type->size);
}

static struct value parse_cast(struct parser *parser)
{
    struct value value = make_int(0);
    if (!token_enter(parser)) {
        token_leave(parser);
        return value;
    }
    if (!token_accept(parser, "(")) {
        value = parse_unary(parser);
    } else if (specifier_is_start(parser)) {
        const struct type *type = specifier_parse_type_name(parser);
        token_expect(parser, ")");
        value = convert(parser, parse_cast(parser), type);
    } else {
        value = parse_condition(parser);
        token_expect(parser, ")");
    }
    token_leave(parser);
    return value;
}

enum operation {
    OP_MULTIPLY, OP_DIVIDE, OP_REST, OP_ADD, OP_SUBTRACT, OP_LEFT, OP_RIGHT, OP_LESS, OP_GREATER,
    OP_LESS_EQUAL, OP_GREATER_EQUAL, OP_EQUAL, OP_UNEQUAL, OP_AND, OP_XOR, OP_OR, OP_BOTH,
    OP_EITHER, OP_COUNT
};

static const struct { const char *sign; int rank; } operators[OP_COUNT] = {
    {"*", 10}, {"/", 10}, {"%", 10}, {"+", 9}, {"-", 9}, {"<<", 8}, {">>", 8}, {"<", 7}, {">", 7},
    {"<=", 7}, {">=", 7}, {"==", 6}, {"!=", 6}, {"&", 5}, {"^", 4}, {"|", 3}, {"&&", 2}, {"||", 1},
};

static enum operation find_operator(const struct parser *parser)
{
    unsigned i = 0;
    while (i < OP_COUNT && !token_is(parser, operators[i].sign))
        i++;
    return i;
}

static struct value divide(struct parser *parser, struct value a, struct value b, bool wants_rest)
{
    uint64_t bits;
    if (b.bits == 0) {
        token_fail(parser, "a division by zero");
        return a;
    }
    if (a.is_unsigned)
        bits = wants_rest ? a.bits % b.bits : a.bits / b.bits;
    else if ((int64_t)b.bits == -1)           /* the one quotient that may overflow */
        bits = wants_rest ? 0 : -a.bits;
    else
        bits = (uint64_t)(wants_rest ? (int64_t)a.bits % (int64_t)b.bits
                                     : (int64_t)a.bits / (int64_t)b.bits);
    return make_value(bits, a.is_unsigned, a.size);
}

static struct value shift(struct parser *parser, struct value a, uint64_t count, bool is_left)
{
    if (count >= a.size * 8u) {
        token_fail(parser, "a shift by more bits than there are");
        return a;
    }
    uint64_t right = a.is_unsigned ? a.bits >> count : (uint64_t)((int64_t)a.bits >> count);
    return make_value(is_left ? a.bits << count : right, a.is_unsigned, a.size);
}

static bool is_less(struct value a, struct value b)
{
    return a.is_unsigned ? a.bits < b.bits : (int64_t)a.bits < (int64_t)b.bits;
}

static struct value apply(struct parser *parser, enum operation operation, struct value a,
                          struct value b)
{
    uint64_t bits = 0;
    if (operation == OP_LEFT || operation == OP_RIGHT)
        return shift(parser, a, b.bits, operation == OP_LEFT);
    if (operation == OP_BOTH || operation == OP_EITHER)
        return make_int(operation == OP_BOTH ? a.bits && b.bits : a.bits || b.bits);
    uint8_t size = a.size > b.size ? a.size : b.size;
    bool is_unsigned = (a.is_unsigned && a.size == size) || (b.is_unsigned && b.size == size);
    a = make_value(a.bits, is_unsigned, size);
    b = make_value(b.bits, is_unsigned, size);
    switch (operation) {
    case OP_MULTIPLY: bits = a.bits * b.bits; break;
    case OP_ADD: bits = a.bits + b.bits; break;
    case OP_SUBTRACT: bits = a.bits - b.bits; break;
    case OP_AND: bits = a.bits & b.bits; break;
    case OP_XOR: bits = a.bits ^ b.bits; break;
    case OP_OR: bits = a.bits | b.bits; break;
    case OP_DIVIDE: case OP_REST: return divide(parser, a, b, operation == OP_REST);
    case OP_LESS: return make_int(is_less(a, b));
    case OP_GREATER: return make_int(is_less(b, a));
    case OP_LESS_EQUAL: return make_int(!is_less(b, a));
    case OP_GREATER_EQUAL: return make_int(!is_less(a, b));
    case OP_EQUAL: return make_int(a.bits == b.bits);
    default: return make_int(a.bits != b.bits);
    }
    return make_value(bits, is_unsigned, size);
}

/* Operands and operators of at least that rank. */
static struct value parse_binary(struct parser *parser, int rank)
{
    struct value left = parse_cast(parser);
    for (;;) {
        enum operation operation = find_operator(parser);
        if (operation == OP_COUNT || operators[operation].rank < rank)
            return left;
        token_next(parser);
        struct value right = parse_binary(parser, operators[operation].rank + 1);
        if (!parser->has_failed)
            left = apply(parser, operation, left, right);
    }
}

static struct value parse_condition(struct parser *parser)
{
    struct value value = parse_binary(parser, 1);
    if (!token_is(parser, "?") || !token_enter(parser))
        return value;
    token_next(parser);
    struct value yes = parse_condition(parser);
    token_expect(parser, ":");
    struct value no = parse_condition(parser);
    token_leave(parser);
    return value.bits ? yes : no;
}

int64_t value_parse(struct parser *parser)
{
    return (int64_t)parse_condition(parser).bits;
}
