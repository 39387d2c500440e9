/* cdecl_internal.h: the parts of the parser of C declarations; only for cdecl*.c. A mistake is
 * reported once, then the text seems to end: loops stop and results are of no meaning. */
#ifndef HOTLUA_CDECL_INTERNAL_H
#define HOTLUA_CDECL_INTERNAL_H

#include "cdecl.h"

enum { CDECL_MAX_DEPTH = 100 };               /* of parentheses, bodies and operators */

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_CHARACTER, TOKEN_STRING, TOKEN_SIGN };

struct token {
    enum token_kind kind;
    const char *start;
    size_t length;
    int line, column;
};

struct mark {                /* a place in the text, to come back to */
    struct token token;      /* the one not yet taken */
    const char *next;        /* where the one after it begins */
    const char *line_start;
    int line;
};

struct parser {
    struct mark here;
    const char *text;
    bool is_expression;      /* one type, not declarations: errors then quote the text */
    bool has_failed;
    int depth;
    int parameter_depth;     /* how many lists of parameters this is in */
    struct types *table;
    struct declarations *declarations;
    const struct cdecl_lookup *lookup;   /* NULL: none */
    void *context;
    struct error *error;
};

/* ---- cdecl_token.c ---- */

void token_start(struct parser *parser, const char *text);
void token_next(struct parser *parser);
bool token_is(const struct parser *parser, const char *spelling);
bool token_accept(struct parser *parser, const char *spelling);
void token_expect(struct parser *parser, const char *spelling);
/* The current name, interned, and go on; fails with "expected `what`" if it is no name. */
const char *token_take_name(struct parser *parser, const char *what);
/* Skip from an opening bracket behind the one that closes it. */
void token_skip_brackets(struct parser *parser);
/* Report a mistake at the current token (at `token`). */
void token_fail(struct parser *parser, const char *format, ...) __attribute__((format(printf, 2, 3)));
void token_fail_at(struct parser *parser, const struct token *token, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "expected ... before 'x'" */
void token_fail_expected(struct parser *parser, const char *what);
/* Count a level of nesting; fails when there are too many. Pair with token_leave. */
bool token_enter(struct parser *parser);
void token_leave(struct parser *parser);

/* ---- cdecl_names.c ---- */

enum name_kind { NAME_SYMBOL, NAME_TYPE, NAME_ENUMERATOR };

struct name {
    const char *text;        /* a tag has its keyword: "struct point" */
    enum name_kind kind;
    const struct type *type;
    int64_t value;           /* of an enumerator */
    bool is_open;            /* a tag whose body is being read */
    struct name *same_hash;
    struct name *next_symbol;
};

struct declarations *names_new(struct types *table);
struct name *names_find(const struct declarations *declarations, enum name_kind kind,
                        const char *text);
struct name *names_add(struct declarations *declarations, enum name_kind kind, const char *text,
                       const struct type *type);

/* ---- cdecl_value.c ---- */

/* A constant expression; fails and gives 0 on what is none. */
int64_t value_parse(struct parser *parser);

/* ---- cdecl_specifier.c ---- */

struct attributes {
    bool is_packed;
    uint32_t align;          /* 0: none given */
};

struct specifiers {
    const struct type *type;
    struct attributes attributes;
    bool is_typedef;
    bool is_const, is_volatile;
    bool has_storage;        /* extern, static, inline ... was written */
    bool is_body;            /* a struct, union or enum with a body or tag: may stand alone */
};

/* Is the current token the beginning of a type (or of its qualifiers or attributes)? */
bool specifier_is_start(struct parser *parser);
struct specifiers specifier_parse(struct parser *parser);
/* Any number of __attribute__ and __asm__; what is given is added to `attributes`. */
void specifier_parse_attributes(struct parser *parser, struct attributes *attributes);
void specifier_add_attributes(struct attributes *attributes, const struct attributes *more);
/* const, volatile, restrict, _Atomic: takes one if it is there. */
bool specifier_accept_qualifier(struct parser *parser, bool *is_const, bool *is_volatile);
/* A type in itself, as in sizeof(type): specifiers and a declarator without name. */
const struct type *specifier_parse_type_name(struct parser *parser);
/* The same type with another alignment. */
const struct type *specifier_align(struct types *table, const struct type *type, uint32_t align);

/* ---- cdecl_body.c, cdecl_layout.c ---- */

/* The rest of a struct, union or enum specifier after its keyword. */
const struct type *body_parse(struct parser *parser, enum type_kind kind);
/* The struct, union or enum of that tag; an incomplete one where none is known. */
const struct type *body_find_tag(struct parser *parser, enum type_kind kind, const char *tag);

struct member {
    struct token token;      /* where its name stands */
    const char *name;
    const struct type *type;
    struct attributes attributes;
    bool is_bit_field;
    uint32_t bit_size;
    uint64_t position;       /* layout: bits from the start of the struct */
};

/* Place the members as the compilers of this machine do, and fill fields, size and align of `type`
 * (which it completes). False if it is larger than memory. */
bool layout_fill(struct types *table, struct type *type, struct member *members, size_t count,
                 const struct attributes *attributes);

/* ---- cdecl_declarator.c ---- */

struct declarator {
    const struct type *type;
    const char *name;        /* NULL: none */
    struct token token;      /* the name, or where it would be */
    struct attributes attributes;   /* those behind the name */
};

/* `allows_name`: a name may come, else it is an abstract one. */
struct declarator declarator_parse(struct parser *parser, const struct type *base, bool allows_name);

#endif
