/* cdecl_specifier.c: what stands before the declarators: words of basic types, names of types,
 * qualifiers, storage classes, attributes. */
#include "cdecl_internal.h"

#include <stdarg.h>
#include <string.h>
#include <wchar.h>

enum { MAX_WORDS = 8, MAX_ALIGN = 1 << 28, DEFAULT_ALIGN = 16 };

static bool is_one_of(const struct parser *parser, const char *const *words)
{
    for (; *words; words++)
        if (token_is(parser, *words))
            return true;
    return false;
}

static const char *const basic_words[] = {
    "void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool",
    "bool", "_Complex", "__int128", "__signed__", "__signed", "__complex__", NULL
};
static const char *const storage_words[] = {
    "extern", "static", "inline", "register", "auto", "_Noreturn", "_Thread_local", "__thread",
    "__inline", "__inline__", "__extension__", NULL
};
static const char *const tag_words[] = {"struct", "union", "enum", NULL};
static const char *const const_words[] = {"const", "__const", "__const__", NULL};
static const char *const volatile_words[] = {"volatile", "__volatile", "__volatile__", NULL};
static const char *const mute_qualifiers[] = {
    "restrict", "__restrict", "__restrict__", "_Atomic", NULL
};
static const char *const attribute_words[] = {
    "__attribute__", "__attribute", "__asm__", "__asm", "asm", "_Alignas", "alignas", NULL
};
static const char *const other_words[] = {"typedef", "_Atomic", "sizeof", "_Static_assert", NULL};

static bool is_keyword(const struct parser *parser)
{
    return is_one_of(parser, basic_words) || is_one_of(parser, storage_words) ||
           is_one_of(parser, tag_words) || is_one_of(parser, const_words) ||
           is_one_of(parser, volatile_words) || is_one_of(parser, mute_qualifiers) ||
           is_one_of(parser, attribute_words) || is_one_of(parser, other_words);
}

/* ---- Names of types ---- */

#define SPELLING_OF(c_type) _Generic((c_type)0, int: "int", unsigned: "unsigned int", \
    long: "long", unsigned long: "unsigned long", short: "short", default: "unsigned short")

/* Names that every C programmer takes for given, where neither text nor debug info has them. */
static const struct { const char *name, *spelling; } known_names[] = {
    {"int8_t", "signed char"}, {"uint8_t", "unsigned char"}, {"int16_t", "short"},
    {"uint16_t", "unsigned short"}, {"int32_t", "int"}, {"uint32_t", "unsigned int"},
    {"int64_t", "long"}, {"uint64_t", "unsigned long"}, {"intptr_t", "long"},
    {"uintptr_t", "unsigned long"}, {"size_t", "unsigned long"}, {"ssize_t", "long"},
    {"ptrdiff_t", "long"}, {"intmax_t", "long"}, {"uintmax_t", "unsigned long"},
    {"int_least8_t", "signed char"}, {"uint_least8_t", "unsigned char"}, {"int_least16_t", "short"},
    {"uint_least16_t", "unsigned short"}, {"int_least32_t", "int"},
    {"uint_least32_t", "unsigned int"}, {"int_least64_t", "long"},
    {"uint_least64_t", "unsigned long"}, {"int_fast8_t", "signed char"},
    {"uint_fast8_t", "unsigned char"}, {"int_fast16_t", SPELLING_OF(int_fast16_t)},
    {"uint_fast16_t", SPELLING_OF(uint_fast16_t)}, {"int_fast32_t", SPELLING_OF(int_fast32_t)},
    {"uint_fast32_t", SPELLING_OF(uint_fast32_t)}, {"int_fast64_t", "long"},
    {"uint_fast64_t", "unsigned long"}, {"wchar_t", SPELLING_OF(wchar_t)},
    {"wint_t", "unsigned int"}, {"char16_t", "unsigned short"}, {"char32_t", "unsigned int"},
    {"off_t", "long"}, {"time_t", "long"}, {"clock_t", "long"}, {"pid_t", "int"},
    {"uid_t", "unsigned int"}, {"gid_t", "unsigned int"}, {"mode_t", "unsigned int"},
    {"socklen_t", "unsigned int"}, {"useconds_t", "unsigned int"}, {"suseconds_t", "long"},
    {"ulong", "unsigned long"}, {"uint", "unsigned int"}, {"ushort", "unsigned short"},
    {"__int8_t", "signed char"}, {"__uint8_t", "unsigned char"},
};

static const struct type *find_known(struct parser *parser, const char *name)
{
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++)
        if (strcmp(known_names[i].name, name) == 0) {
            const struct type *type = types_basic(parser->table, known_names[i].spelling);
            return types_aliased(parser->table, type, name);
        }
    if (strcmp(name, "FILE") == 0)
        return types_aliased(parser->table, body_find_tag(parser, TYPE_STRUCT, "_IO_FILE"), name);
    if (strcmp(name, "va_list") == 0 || strcmp(name, "__builtin_va_list") == 0) {
        struct type *type = types_add(parser->table, TYPE_UNSUPPORTED);
        type->name = types_string(parser->table, name);
        type->reason = "a va_list, which only C can make";
        type->size = sizeof(va_list);
        type->align = _Alignof(va_list);
        return type;
    }
    return NULL;
}

/* The type that the current token names, NULL if it names none. */
static const struct type *find_named(struct parser *parser)
{
    char text[256];
    const struct token *token = &parser->here.token;
    if (token->kind != TOKEN_NAME || token->length >= sizeof text || is_keyword(parser))
        return NULL;
    memcpy(text, token->start, token->length);
    text[token->length] = 0;
    const struct name *name = names_find(parser->declarations, NAME_TYPE, text);
    if (name)
        return name->type;
    const struct type *type = parser->lookup ? parser->lookup->type(parser->context, text) : NULL;
    return type ? type : find_known(parser, text);
}

bool specifier_is_start(struct parser *parser)
{
    if (parser->here.token.kind != TOKEN_NAME)
        return false;
    if (is_keyword(parser))
        return !token_is(parser, "sizeof") && !token_is(parser, "_Static_assert");
    return find_named(parser) != NULL;
}

/* ---- Attributes and qualifiers ---- */

/* The name without the underscores around it that keep it from macros. */
static bool is_attribute(const char *given, const char *name)
{
    size_t length = strlen(given), wanted = strlen(name);
    if (length == wanted + 4 && strncmp(given, "__", 2) == 0)
        return strncmp(given + 2, name, wanted) == 0 && strcmp(given + 2 + wanted, "__") == 0;
    return strcmp(given, name) == 0;
}

static void add_alignment(struct parser *parser, struct attributes *attributes, int64_t align)
{
    if (align < 0 || align > MAX_ALIGN || (align & (align - 1)) != 0)
        token_fail(parser, "an alignment must be a power of two");
    else if ((uint64_t)align > attributes->align)
        attributes->align = (uint32_t)align;
}

static void parse_attribute(struct parser *parser, struct attributes *attributes)
{
    static const char *const refused[] = {
        "vector_size", "mode", "ms_struct", "scalar_storage_order", "transparent_union", "ms_abi",
        "regcall", "vectorcall",
    };
    struct token token = parser->here.token;
    const char *name = token_take_name(parser, "the name of an attribute");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_attribute(name, refused[i]))
            token_fail_at(parser, &token, "the attribute '%s' is not supported", name);
    if (is_attribute(name, "packed"))
        attributes->is_packed = true;
    if (is_attribute(name, "aligned") && token_accept(parser, "(")) {
        add_alignment(parser, attributes, value_parse(parser));
        token_expect(parser, ")");
    } else if (is_attribute(name, "aligned")) {
        add_alignment(parser, attributes, DEFAULT_ALIGN);
    } else if (token_is(parser, "(")) {
        token_skip_brackets(parser);
    }
}

static void parse_attribute_list(struct parser *parser, struct attributes *attributes)
{
    token_expect(parser, "(");
    token_expect(parser, "(");
    while (!token_is(parser, ")") && !parser->has_failed) {
        if (!token_is(parser, ","))
            parse_attribute(parser, attributes);
        if (!token_is(parser, ")"))
            token_expect(parser, ",");
    }
    token_expect(parser, ")");
    token_expect(parser, ")");
}

static void parse_alignas(struct parser *parser, struct attributes *attributes)
{
    token_expect(parser, "(");
    if (specifier_is_start(parser))
        add_alignment(parser, attributes, type_complete(specifier_parse_type_name(parser))->align);
    else
        add_alignment(parser, attributes, value_parse(parser));
    token_expect(parser, ")");
}

void specifier_parse_attributes(struct parser *parser, struct attributes *attributes)
{
    while (is_one_of(parser, attribute_words)) {
        bool is_list = token_is(parser, "__attribute__") || token_is(parser, "__attribute");
        bool is_alignas = token_is(parser, "_Alignas") || token_is(parser, "alignas");
        token_next(parser);
        if (is_list)
            parse_attribute_list(parser, attributes);
        else if (is_alignas)
            parse_alignas(parser, attributes);
        else if (token_is(parser, "("))
            token_skip_brackets(parser);
        else
            token_fail_expected(parser, "'('");
    }
}

void specifier_add_attributes(struct attributes *attributes, const struct attributes *more)
{
    attributes->is_packed |= more->is_packed;
    if (more->align > attributes->align)
        attributes->align = more->align;
}

bool specifier_accept_qualifier(struct parser *parser, bool *is_const, bool *is_volatile)
{
    bool is_const_word = is_one_of(parser, const_words);
    bool is_volatile_word = is_one_of(parser, volatile_words);
    if (!is_const_word && !is_volatile_word && !is_one_of(parser, mute_qualifiers))
        return false;
    *is_const |= is_const_word;
    *is_volatile |= is_volatile_word;
    token_next(parser);
    return true;
}

const struct type *specifier_align(struct types *table, const struct type *type, uint32_t align)
{
    type_complete(type);
    if (align == 0 || align == type->align || type->is_incomplete)
        return type;
    struct type *copy = types_add(table, type->kind);
    *copy = *type->plain;
    copy->plain = copy;
    copy->align = align;
    const struct type *same = types_aliased(table, copy, type->alias);
    return types_qualified(table, same, type->is_const, type->is_volatile);
}

/* ---- All of them ---- */

struct words {               /* of a basic type, as far as it has come */
    char text[80];
    unsigned count;
    struct token first;
};

static void add_word(struct parser *parser, struct words *words)
{
    const struct token *token = &parser->here.token;
    if (words->count == 0)
        words->first = *token;
    if (words->count++ == MAX_WORDS)
        token_fail(parser, "too many words of a basic type");
    if (words->count > MAX_WORDS)
        return;
    if (words->count > 1)
        strcat(words->text, " ");
    if (token_is(parser, "__signed__") || token_is(parser, "__signed"))
        strcat(words->text, "signed");
    else if (token_is(parser, "__complex__"))
        strcat(words->text, "_Complex");
    else
        strncat(words->text, token->start, token->length);
    token_next(parser);
}

static void finish_words(struct parser *parser, struct words *words, struct specifiers *result)
{
    if (strcmp(words->text, "_Complex") == 0)
        strcpy(words->text, "double _Complex");
    const struct type *type = types_basic(parser->table, words->text);
    if (!type)
        token_fail_at(parser, &words->first, "unknown type '%s'", words->text);
    result->type = type;
}

static bool accept_storage(struct parser *parser, struct specifiers *result)
{
    if (is_one_of(parser, storage_words)) {
        result->has_storage |= !token_is(parser, "__extension__");
        token_next(parser);
        return true;
    }
    if (!token_is(parser, "typedef"))
        return false;
    result->is_typedef = result->has_storage = true;
    token_next(parser);
    return true;
}

static bool accept_tagged(struct parser *parser, struct specifiers *result)
{
    static const enum type_kind kinds[] = {TYPE_STRUCT, TYPE_UNION, TYPE_ENUM};
    for (int i = 0; i < 3; i++)
        if (token_accept(parser, tag_words[i])) {
            result->type = body_parse(parser, kinds[i]);
            result->is_body = true;
            return true;
        }
    return false;
}

/* `_Atomic(type)`; the layout is that of the type. */
static bool accept_atomic(struct parser *parser, struct specifiers *result)
{
    struct mark before = parser->here;
    if (!token_accept(parser, "_Atomic"))
        return false;
    if (!token_accept(parser, "(")) {
        parser->here = before;
        return false;
    }
    result->type = specifier_parse_type_name(parser);
    token_expect(parser, ")");
    return true;
}

static bool accept_named(struct parser *parser, struct specifiers *result)
{
    result->type = find_named(parser);
    if (result->type)
        token_next(parser);
    return result->type != NULL;
}

static void fail_without_type(struct parser *parser)
{
    const struct token *token = &parser->here.token;
    int length = token->length > 200 ? 200 : (int)token->length;
    if (token->kind == TOKEN_NAME)
        token_fail(parser, "unknown type '%.*s'", length, token->start);
    else
        token_fail_expected(parser, "a type");
}

struct specifiers specifier_parse(struct parser *parser)
{
    struct specifiers result = {0};
    struct words words = {0};
    while (parser->here.token.kind == TOKEN_NAME) {
        bool has_type = result.type || words.count > 0;
        bool is_complex = words.count > 0 && token_is(parser, "complex");
        bool is_new_name = words.count > 0 && token_is(parser, "bool");
        bool is_word = (is_one_of(parser, basic_words) && !is_new_name) || is_complex;
        if (!result.type && is_word) {
            add_word(parser, &words);
            continue;
        }
        specifier_parse_attributes(parser, &result.attributes);
        if (accept_storage(parser, &result))
            continue;
        if (!has_type && accept_atomic(parser, &result))
            continue;
        if (specifier_accept_qualifier(parser, &result.is_const, &result.is_volatile))
            continue;
        if (!has_type && (accept_tagged(parser, &result) || accept_named(parser, &result)))
            continue;
        if (result.type || !is_one_of(parser, basic_words) || token_is(parser, "bool"))
            break;
    }
    if (words.count > 0 && !parser->has_failed)
        finish_words(parser, &words, &result);
    if (!result.type)
        fail_without_type(parser);
    if (!result.type)
        result.type = types_basic(parser->table, "int");
    result.type = types_qualified(parser->table, result.type, result.is_const, result.is_volatile);
    return result;
}

const struct type *specifier_parse_type_name(struct parser *parser)
{
    struct token start = parser->here.token;
    struct specifiers specifiers = specifier_parse(parser);
    if (specifiers.has_storage)
        token_fail_at(parser, &start, "no storage class can stand here");
    return declarator_parse(parser, specifiers.type, false).type;
}
