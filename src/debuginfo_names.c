/* debuginfo_names.c: the named types and enumerators of a file, through an index of all units that
 * is made at the first question. */
#include "debuginfo_internal.h"

#include <stdlib.h>
#include <string.h>

#define NO_ENTRY UINT32_MAX

struct named_value {
    const char *name;
    int64_t value;
    struct named_value *next;             /* of the same hash */
};

bool debuginfo_is_scope(unsigned tag)
{
    return tag == DW_TAG_namespace || tag == DW_TAG_module;
}

/* ---- The index ---- */

static void add_name(struct debuginfo *debug, const struct die *die, const char *name)
{
    if (debug->name_count >= NO_ENTRY - 1)
        return;
    debug->names = list_grow(debug->names, debug->name_count, &debug->name_capacity, sizeof *debug->names);
    uintptr_t index = debug->name_count++;
    debug->names[index] = (struct name_entry){
        .name = name, .unit = die->unit, .die = die->address, .tag = (uint16_t)die->tag,
        .is_declaration = die_flag(die, AT_DECLARATION), .next = NO_ENTRY,
    };
    if (!name)
        return;
    void **chain = map_claim(&debug->name_chains, map_hash(name));
    if (*chain)
        debug->names[index].next = (uint32_t)((uintptr_t)*chain - 1);
    *chain = (void *)(index + 1);
}

static void index_unit(struct debuginfo *debug, struct unit *unit)
{
    struct walk walk;
    struct die die;
    enum type_kind kind;
    if (!die_root(unit, &die))
        return;
    for (walk_start(&walk, &die); walk_next(&walk, &die); ) {
        if (debuginfo_is_scope(die.tag))
            continue;
        bool is_tagged = debuginfo_is_tagged(die.tag, &kind);
        if (is_tagged || die.tag == DW_TAG_typedef || die.tag == DW_TAG_base_type) {
            const char *name = die_string(&die, AT_NAME);
            if (name || die.tag == DW_TAG_enumeration_type)
                add_name(debug, &die, name);
        }
        walk_skip(&walk, &die);
    }
}

static void make_index(struct debuginfo *debug)
{
    size_t count;
    struct unit *const *units = debuginfo_units(debug, &count);
    if (debug->has_names)
        return;
    debug->has_names = true;
    for (size_t i = count; i-- > 0; )         /* backwards, for the newest is first in its chain */
        index_unit(debug, units[i]->split ? units[i]->split : units[i]);
}

static const struct name_entry *first_entry(struct debuginfo *debug, const char *name)
{
    make_index(debug);
    uintptr_t index = (uintptr_t)map_get(&debug->name_chains, map_hash(name));
    return index ? &debug->names[index - 1] : NULL;
}

static const struct name_entry *next_entry(const struct debuginfo *debug, const struct name_entry *entry)
{
    return entry->next == NO_ENTRY ? NULL : &debug->names[entry->next];
}

/* What a name can be, in the order in which a bare one is looked up. */
enum name_class { CLASS_TYPEDEF, CLASS_STRUCT, CLASS_UNION, CLASS_ENUM, CLASS_BASE, NAME_CLASSES };

static enum name_class class_of_tag(unsigned tag)
{
    enum type_kind kind;
    if (debuginfo_is_tagged(tag, &kind))
        return kind == TYPE_STRUCT ? CLASS_STRUCT : kind == TYPE_UNION ? CLASS_UNION : CLASS_ENUM;
    return tag == DW_TAG_typedef ? CLASS_TYPEDEF : CLASS_BASE;
}

/* The best entry of each class among those of one name: a definition before a declaration. */
static void choose(struct debuginfo *debug, const char *name,
                   const struct name_entry *chosen[NAME_CLASSES])
{
    memset(chosen, 0, NAME_CLASSES * sizeof *chosen);
    for (const struct name_entry *entry = first_entry(debug, name); entry; entry = next_entry(debug, entry)) {
        enum name_class class = class_of_tag(entry->tag);
        bool is_better = !chosen[class] || (chosen[class]->is_declaration && !entry->is_declaration);
        if (is_better && strcmp(entry->name, name) == 0)
            chosen[class] = entry;
    }
}

bool debuginfo_find_definition(struct debuginfo *debug, enum type_kind kind, const char *name,
                               struct die *die)
{
    const struct name_entry *chosen[NAME_CLASSES];
    choose(debug, name, chosen);
    const struct name_entry *entry = chosen[kind == TYPE_STRUCT ? CLASS_STRUCT :
                                            kind == TYPE_UNION ? CLASS_UNION : CLASS_ENUM];
    return entry && !entry->is_declaration && die_read(entry->unit, entry->die, die);
}

/* ---- Questions ---- */

static const struct type *read_entry(const struct name_entry *entry)
{
    struct die die;
    return entry && die_read(entry->unit, entry->die, &die) ? debuginfo_read_type(&die) : NULL;
}

const struct type *debuginfo_type(struct debuginfo *debug, const char *name)
{
    static const char *const keywords[] = {
        [CLASS_STRUCT] = "struct ", [CLASS_UNION] = "union ", [CLASS_ENUM] = "enum ",
    };
    const struct name_entry *chosen[NAME_CLASSES];
    const struct name_entry *found = NULL;
    types_lock(debug->types);
    enum name_class only = NAME_CLASSES;
    for (enum name_class i = CLASS_STRUCT; i <= CLASS_ENUM && only == NAME_CLASSES; i++)
        if (strncmp(name, keywords[i], strlen(keywords[i])) == 0)
            only = i;
    if (only != NAME_CLASSES) {
        name += strlen(keywords[only]);
        choose(debug, name + strspn(name, " "), chosen);
        found = chosen[only];
    } else {
        choose(debug, name, chosen);
        for (int i = 0; i < NAME_CLASSES && !found; i++)
            found = chosen[i];
    }
    const struct type *type = read_entry(found);
    types_unlock(debug->types);
    return type;
}

static int compare_entries(const void *a, const void *b)
{
    const struct name_entry *const *x = a, *const *y = b;
    int order = strcmp((*x)->name, (*y)->name);
    return order ? order : (int)class_of_tag((*x)->tag) - (int)class_of_tag((*y)->tag);
}

static void list_types(struct debuginfo *debug)
{
    make_index(debug);
    debug->has_type_list = true;
    for (size_t i = 0; i < debug->name_chains.capacity; i++) {
        uintptr_t index = (uintptr_t)debug->name_chains.entries[i].value;
        const struct name_entry *chosen[NAME_CLASSES];
        if (index == 0)
            continue;
        choose(debug, debug->names[index - 1].name, chosen);
        for (int class = 0; class < CLASS_BASE; class++) {
            if (!chosen[class])
                continue;
            debug->type_list = list_grow(debug->type_list, debug->type_count, &debug->type_capacity,
                                         sizeof *debug->type_list);
            debug->type_list[debug->type_count++] = chosen[class];
        }
    }
    if (debug->type_count > 0)
        qsort(debug->type_list, debug->type_count, sizeof *debug->type_list, compare_entries);
}

/* Not what became a plain C type (Rust's c_void, an Option of a pointer). */
static bool is_of_its_own(const struct type *type)
{
    return type && (type->alias || (type->plain->name && type->plain->kind != TYPE_VOID));
}

void debuginfo_each_type(struct debuginfo *debug,
                         bool (*each)(void *context, const struct type *), void *context)
{
    types_lock(debug->types);
    if (!debug->has_type_list)
        list_types(debug);
    types_unlock(debug->types);
    for (size_t i = 0; i < debug->type_count; i++) {      /* unlocked: `each` may do anything */
        types_lock(debug->types);
        const struct type *type = read_entry(debug->type_list[i]);
        types_unlock(debug->types);
        if (is_of_its_own(type) && !each(context, type))
            return;
    }
}

static void add_values(struct debuginfo *debug, const struct die *enumeration)
{
    struct walk walk;
    struct die die;
    for (walk_start(&walk, enumeration); walk_next(&walk, &die); walk_skip(&walk, &die)) {
        int64_t value;
        const char *name = die_string(&die, AT_NAME);
        if (die.tag != DW_TAG_enumerator || !name || !die_number(&die, AT_CONST_VALUE, &value))
            continue;
        void **place = map_claim(&debug->enumerators, map_hash(name));
        struct named_value *first = *place, *known = first;
        while (known && strcmp(known->name, name) != 0)
            known = known->next;
        if (known)
            continue;
        struct named_value *added = types_allocate(debug->types, sizeof *added);
        *added = (struct named_value){name, value, first};
        *place = added;
    }
}

bool debuginfo_enumerator(struct debuginfo *debug, const char *name, int64_t *value)
{
    types_lock(debug->types);
    make_index(debug);
    for (size_t i = debug->has_enumerators ? 0 : debug->name_count; i-- > 0; ) {
        const struct name_entry *entry = &debug->names[i];
        struct die die;
        if (entry->tag == DW_TAG_enumeration_type && die_read(entry->unit, entry->die, &die))
            add_values(debug, &die);
    }
    debug->has_enumerators = true;
    const struct named_value *found = map_get(&debug->enumerators, map_hash(name));
    while (found && strcmp(found->name, name) != 0)
        found = found->next;
    if (found)
        *value = found->value;
    types_unlock(debug->types);
    return found != NULL;
}

void debuginfo_close_names(struct debuginfo *debug)
{
    free(debug->names);
    free(debug->type_list);
    map_free(&debug->name_chains);
    map_free(&debug->enumerators);
}
