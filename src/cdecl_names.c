/* cdecl_names.c: what a text declared, by name: functions and variables, types, enumerators. */
#include "cdecl_internal.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 256 };

struct declarations {
    struct types *table;     /* one reference; names live in its memory */
    struct name *buckets[BUCKETS];
    struct name *first_symbol, *last_symbol;
};

struct declarations *names_new(struct types *table)
{
    struct declarations *declarations = calloc(1, sizeof *declarations);
    if (declarations)
        declarations->table = types_retain(table);
    return declarations;
}

void cdecl_free(struct declarations *declarations)
{
    if (!declarations)
        return;
    types_release(declarations->table);
    free(declarations);
}

static size_t hash_name(const char *text)
{
    size_t hash = 5381;
    for (; *text; text++)
        hash = hash * 33 + (unsigned char)*text;
    return hash % BUCKETS;
}

struct name *names_find(const struct declarations *declarations, enum name_kind kind,
                        const char *text)
{
    struct name *name = declarations->buckets[hash_name(text)];
    while (name && (name->kind != kind || strcmp(name->text, text) != 0))
        name = name->same_hash;
    return name;
}

struct name *names_add(struct declarations *declarations, enum name_kind kind, const char *text,
                       const struct type *type)
{
    struct name *name = types_allocate(declarations->table, sizeof *name);
    struct name **bucket = &declarations->buckets[hash_name(text)];
    name->text = types_string(declarations->table, text);
    name->kind = kind;
    name->type = type;
    name->same_hash = *bucket;
    *bucket = name;
    if (kind != NAME_SYMBOL)
        return name;
    if (declarations->last_symbol)
        declarations->last_symbol->next_symbol = name;
    else
        declarations->first_symbol = name;
    return declarations->last_symbol = name;
}

const struct type *cdecl_symbol(const struct declarations *declarations, const char *name)
{
    const struct name *found = names_find(declarations, NAME_SYMBOL, name);
    return found ? found->type : NULL;
}

const struct type *cdecl_type(const struct declarations *declarations, const char *name)
{
    static const char *const keywords[] = {"struct", "union", "enum"};
    const struct name *found = names_find(declarations, NAME_TYPE, name);
    for (size_t i = 0; i < 3 && !found; i++) {
        char tag[300] = "";
        if (strlen(name) + 8 > sizeof tag)
            return NULL;
        strcat(strcat(strcat(tag, keywords[i]), " "), name);
        found = names_find(declarations, NAME_TYPE, tag);
    }
    return found ? found->type : NULL;
}

bool cdecl_enumerator(const struct declarations *declarations, const char *name, int64_t *value)
{
    const struct name *found = names_find(declarations, NAME_ENUMERATOR, name);
    if (found)
        *value = found->value;
    return found != NULL;
}

const char *cdecl_symbol_at(const struct declarations *declarations, size_t i,
                            const struct type **type)
{
    const struct name *name = declarations->first_symbol;
    while (name && i-- > 0)
        name = name->next_symbol;
    if (name && type)
        *type = name->type;
    return name ? name->text : NULL;
}
