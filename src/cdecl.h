/* cdecl.h: C declarations to types and types to C text. The parser knows the declarations of C11
 * (no bodies, no initialisers, no preprocessor) plus __attribute__((packed, aligned(n))). */
#ifndef HOTLUA_CDECL_H
#define HOTLUA_CDECL_H

#include "error.h"
#include "types.h"

/* What names mean outside the text itself. */
struct cdecl_lookup {
    /* "struct point", "size_t", "point"; NULL if unknown. */
    const struct type *(*type)(void *context, const char *name);
    /* An enumerator; false if unknown. */
    bool (*constant)(void *context, const char *name, int64_t *value);
};

struct declarations;         /* what a text declared: functions, variables, types, enumerators */

/* Parse `text` into `table`; `lookup` may be NULL. On a mistake NULL, and error says line, column
 * and what was expected. */
struct declarations *cdecl_parse(struct types *table, const char *text,
                                 const struct cdecl_lookup *lookup, void *context,
                                 struct error *error);
void cdecl_free(struct declarations *declarations);

/* The type of a declared function or variable, NULL if the text has none of that name. */
const struct type *cdecl_symbol(const struct declarations *declarations, const char *name);
/* A declared type ("struct point", "point", a typedef), NULL if there is none. */
const struct type *cdecl_type(const struct declarations *declarations, const char *name);
bool cdecl_enumerator(const struct declarations *declarations, const char *name, int64_t *value);
/* The i-th declared symbol (functions and variables, in the order of the text); NULL at the end. */
const char *cdecl_symbol_at(const struct declarations *declarations, size_t i, const struct type **type);

/* A C type expression: "int[4]", "struct point *[4]", "const char *", "int (*)(int, double)". */
const struct type *cdecl_parse_type(struct types *table, const char *text,
                                    const struct cdecl_lookup *lookup, void *context,
                                 struct error *error);

/* Write a declaration of `name` ("" for an abstract one) with that type as C spells it:
 * "int add(int a, int b)", "const char *names[4]", "struct point". Parameter names are kept where
 * known. Like snprintf: returns the full length, always terminates. */
size_t cdecl_print(char *buffer, size_t size, const struct type *type, const char *name);

/* The definition of a struct, union or enum as C text over several lines, with offsets and sizes as
 * comments when `with_layout`. Malloc'ed, for the caller to free. */
char *cdecl_print_definition(const struct type *type, bool with_layout);

#endif
