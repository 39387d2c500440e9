/* debuginfo_find.c: the entry of a function, by its address and its name. What the linker or the
 * compiler folded together has one address and several names: the name decides then. */
#include "debuginfo_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- A unit's functions by address ---- */

static void add_function(struct unit *unit, size_t *capacity, uint64_t address,
                         const unsigned char *die)
{
    unit->functions = list_grow(unit->functions, unit->function_count, capacity, sizeof *unit->functions);
    unit->functions[unit->function_count++] = (struct function_entry){address, die};
}

/* Each range counts, since a function whose cold part was split off has several. */
static void add_ranges(struct unit *unit, size_t *capacity, const struct die *die)
{
    Dwarf_Die handle = die_handle(die);
    Dwarf_Addr base, low, high;
    ptrdiff_t offset = 0;
    for (int i = 0; i < 16 && (offset = dwarf_ranges(&handle, offset, &base, &low, &high)) > 0; i++)
        add_function(unit, capacity, low, die->address);
}

static int compare_functions(const void *a, const void *b)
{
    const struct function_entry *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->die > y->die) - (x->die < y->die);
}

static bool may_lead_to_function(unsigned tag)
{
    return tag == DW_TAG_subprogram || debuginfo_is_scope(tag);
}

static bool may_lead_to_either(unsigned tag)
{
    return may_lead_to_function(tag) || tag == DW_TAG_variable;
}

static bool is_sorted(const struct function_entry *list, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (compare_functions(&list[i - 1], &list[i]) > 0)
            return false;
    return true;
}

/* The walk takes longer than anything else of a large plugin's types: it notes the variables, too, which the
 * carry asks for soon after. */
static void list_functions(struct unit *unit)
{
    size_t capacity = 0, global_capacity = 0;
    struct walk walk;
    struct die die;
    unit->has_functions = true;
    if (!die_root(unit, &die))
        return;
    for (walk_start(&walk, &die); walk_next_of(&walk, may_lead_to_either, &die); ) {
        if (debuginfo_is_scope(die.tag))
            continue;
        if (die.tag == DW_TAG_variable && die_has(&die, AT_LOCATION)) {
            unit->globals = list_grow(unit->globals, unit->global_count, &global_capacity,
                                      sizeof *unit->globals);
            unit->globals[unit->global_count++] = die.address;
        } else if (die.tag == DW_TAG_subprogram && die_has(&die, AT_LOW_PC)) {
            Dwarf_Attribute attribute = die_attribute(&die, AT_LOW_PC);
            Dwarf_Addr address;
            if (dwarf_formaddr(&attribute, &address) == 0)
                add_function(unit, &capacity, address, die.address);
        } else if (die.tag == DW_TAG_subprogram && die_has(&die, AT_RANGES)) {
            add_ranges(unit, &capacity, &die);
        }
        walk_skip(&walk, &die);
    }
    if (!is_sorted(unit->functions, unit->function_count))
        qsort(unit->functions, unit->function_count, sizeof *unit->functions, compare_functions);
}

static bool has_name(const struct die *die, const char *name)
{
    struct die holder;
    const char *own = die_name(die);
    if (own && strcmp(own, name) == 0)
        return true;
    const char *linkage = die_inherit(die, AT_LINKAGE_NAME, &holder) ?
                          die_string(&holder, AT_LINKAGE_NAME) : NULL;
    return linkage && strcmp(linkage, name) == 0;
}

/* The function at that address, the one of that name if there are several. */
static bool find_by_address(struct unit *unit, const char *name, uint64_t address, struct die *die,
                            bool *is_named)
{
    if (!unit->has_functions)
        list_functions(unit);
    size_t low = 0, high = unit->function_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (unit->functions[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = false;
    *is_named = false;
    for (; low < unit->function_count && unit->functions[low].address == address; low++) {
        struct die candidate;
        if (!die_read(unit, unit->functions[low].die, &candidate))
            continue;
        if (!found)
            *die = candidate;
        found = true;
        if (has_name(&candidate, name)) {
            *die = candidate;
            *is_named = true;
            break;
        }
    }
    return found;
}

/* ---- A unit's functions by name ---- */

static void add_name(struct unit *unit, const struct die *die, const char *name)
{
    if (!name)
        return;
    struct function_name *added = types_allocate(unit->debug->types, sizeof *added);
    void **place = map_claim(&unit->names, map_hash(name));
    *added = (struct function_name){name, die->address, !die_flag(die, AT_DECLARATION), *place};
    *place = added;
}

static void list_names(struct unit *unit)
{
    struct walk walk;
    struct die die;
    unit->has_names = true;
    if (!die_root(unit, &die))
        return;
    for (walk_start(&walk, &die); walk_next_of(&walk, may_lead_to_function, &die); ) {
        if (debuginfo_is_scope(die.tag))
            continue;
        if (die.tag == DW_TAG_subprogram) {
            struct die holder;
            add_name(unit, &die, die_name(&die));
            if (die_inherit(&die, AT_LINKAGE_NAME, &holder))
                add_name(unit, &die, die_string(&holder, AT_LINKAGE_NAME));
        }
        walk_skip(&walk, &die);
    }
}

/* The function of that name in the unit, a definition before a declaration; only one that
 * other units can see. */
static bool find_by_name(struct unit *unit, const char *name, struct die *die, bool *is_definition)
{
    bool found = false;
    if (!unit->has_names)
        list_names(unit);
    for (struct function_name *at = map_get(&unit->names, map_hash(name)); at; at = at->next) {
        struct die candidate, holder;
        if (strcmp(at->name, name) != 0 || (found && !at->is_definition) ||
            !die_read(unit, at->die, &candidate) || !die_inherit(&candidate, AT_EXTERNAL, &holder))
            continue;
        if (!at->is_definition && unit->is_c && !die_flag(&candidate, AT_PROTOTYPED))
            continue;
        *die = candidate;
        *is_definition = at->is_definition;
        found = true;
    }
    return found;
}

static bool find_anywhere(struct debuginfo *debug, const char *name, struct die *die)
{
    size_t count;
    bool found = false, is_definition = false;
    struct unit *const *units = debuginfo_units(debug, &count);
    for (size_t i = 0; i < count && !is_definition; i++) {
        struct unit *unit = units[i]->split ? units[i]->split : units[i];
        struct die candidate;
        bool is_better = !unit->is_type_unit && !unit->is_assembler &&
                         find_by_name(unit, name, &candidate, &is_definition);
        if (is_better && (!found || is_definition)) {
            *die = candidate;
            found = true;
        }
    }
    return found;
}

/* ---- The whole search ---- */

/* Is the address that of a function which chooses the implementation of another (IFUNC)? Its
 * own type is not that of the symbol. */
static bool is_resolver(const struct debuginfo *debug, uint64_t address)
{
    GElf_Shdr header;
    Elf_Scn *section = file_section(&debug->main, ".dynsym", &header);
    Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;
    const Elf64_Sym *symbols = data ? data->d_buf : NULL;
    for (size_t i = 0; data && i < data->d_size / sizeof *symbols; i++)
        if (symbols[i].st_value == address && ELF64_ST_TYPE(symbols[i].st_info) == STT_GNU_IFUNC)
            return true;
    return false;
}

static bool find_function(struct debuginfo *debug, const char *name, uint64_t address,
                          struct die *die, const char **missing)
{
    struct unit *unit = address ? debuginfo_unit_of_address(debug, address) : NULL;
    bool is_named, is_definition;
    *missing = unit ? unit->missing : NULL;
    if (unit && unit->split)
        unit = unit->split;
    if (!unit || unit->is_assembler || !find_by_address(unit, name, address, die, &is_named))
        return find_anywhere(debug, name, die);
    if (is_named)
        return true;
    struct die other;
    if (find_by_name(unit, name, &other, &is_definition))
        *die = other;
    else if (is_resolver(debug, address))
        return find_anywhere(debug, name, die);
    return true;
}

/* gcc -g1 writes functions without their types; it notes its options in the unit. */
static bool is_reduced(const struct die *function)
{
    struct unit *unit = function->unit;
    Dwarf_Attribute attribute;
    struct die holder;
    if (function->has_children || die_inherit(function, AT_TYPE, &holder) ||
        die_inherit(function, AT_PROTOTYPED, &holder) ||
        !dwarf_attr(&unit->root, DW_AT_producer, &attribute))
        return false;
    const char *producer = dwarf_formstring(&attribute);
    return producer && strstr(producer, " -g1");
}

const struct type *debuginfo_function(struct debuginfo *debug, const char *name, uint64_t address,
                                      struct error *error)
{
    struct die die;
    const char *missing = NULL;
    const struct type *type = NULL;
    types_lock(debug->types);
    if (!debuginfo_dwarf(debug, error))
        goto done;
    if (!find_function(debug, name, address, &die, &missing)) {
        if (missing)
            error_set(error, "the debug info of '%s' is in '%s', which is not found or cannot be read "
                      "(split DWARF): compile without -gsplit-dwarf, or keep that file and compile "
                      "without -fdebug-types-section", name, missing);
        else
            error_set(error, "no debug info describes '%s': compile its source with -g, or declare "
                      "it with cdef", name);
    } else if (is_reduced(&die)) {
        error_set(error, "the debug info of '%s' has no parameters: compile with -g, not -g1", name);
    } else {
        type = debuginfo_read_function(&die);
        if (type->kind != TYPE_FUNCTION) {
            error_set(error, "'%s' is %s: declare it with cdef", name, type->reason);
            type = NULL;
        }
    }
done:
    types_unlock(debug->types);
    return type;
}
