/* debuginfo_variables.c: every variable with static storage, also those in functions, and where it
 * lies. Bodies of functions are looked into only where the symbol table has statics of functions. */
#include "debuginfo_internal.h"

#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SCOPES = 64 };

struct variable_source {                  /* where a variable's type is */
    struct unit *unit;
    const unsigned char *die;
};

struct found {
    struct debug_variable variable;
    struct variable_source source;
    size_t order;                         /* in the file; tells same-named ones apart, stably */
};

struct collection {
    struct debuginfo *debug;
    struct found *list;
    size_t count, capacity;
    bool enters_functions;
};

/* ---- The symbol table ---- */

/* Is that the name of a function's static variable: "count.0", "tick.count", "_ZZ4tickvE5count"? */
static bool is_static_of_function(const char *name)
{
    return strncmp(name, "_ZZ", 3) == 0 || (name[0] && strchr(name + 1, '.'));
}

/* Stripped files do not say. What the compiler's start files bring into every file, "completed.0", is no
 * variable that debug information knows. */
static bool may_have_function_statics(const struct debuginfo *debug)
{
    GElf_Shdr header;
    const struct debug_file *file = debuginfo_file(debug);
    Elf_Scn *section = file_section(file, ".symtab", &header);
    Elf_Data *data = section && header.sh_entsize == sizeof(Elf64_Sym) ? elf_getdata(section, NULL) : NULL;
    if (!data)
        return true;
    const Elf64_Sym *symbols = data->d_buf;
    bool is_of_start_files = false;          /* local symbols come behind the name of their source file */
    for (size_t i = 0; i < data->d_size / sizeof *symbols; i++) {
        int type = ELF64_ST_TYPE(symbols[i].st_info);
        if (symbols[i].st_shndx == SHN_UNDEF || (type != STT_FILE && type != STT_OBJECT && type != STT_TLS))
            continue;
        const char *name = elf_strptr(file->elf, header.sh_link, symbols[i].st_name);
        if (type == STT_FILE)
            is_of_start_files = name && strcmp(name, "crtstuff.c") == 0;
        else if (name && is_static_of_function(name) &&
                 !(is_of_start_files && strncmp(name, "completed.", 10) == 0))
            return true;
    }
    return false;
}

/* ---- Locations ---- */

/* The address that an operation with an operand of `size` bytes, or 0: an index, has. */
static bool read_operand(const struct die *die, const unsigned char *at, unsigned form,
                         Dwarf_Addr *address)
{
    Dwarf_Attribute attribute = {
        .code = DW_AT_low_pc, .form = form, .valp = (unsigned char *)at, .cu = die->unit->cu,
    };
    return dwarf_formaddr(&attribute, address) == 0;
}

static unsigned length_of_number(const unsigned char *at, size_t room)
{
    unsigned length = 0;
    while (length < room && at[length] & 0x80)
        length++;
    return length < room ? length + 1 : 0;
}

/* Where the variable lies. Only what is one fixed place has one; others are in pieces, in
 * registers or constant. */
static bool read_location(const struct die *die, uint64_t *address, bool *is_thread_local)
{
    Dwarf_Attribute attribute = die_attribute(die, AT_LOCATION);
    Dwarf_Block block;
    bool is_block = attribute.form == DW_FORM_exprloc || attribute.form == DW_FORM_block1 ||
                    attribute.form == DW_FORM_block || attribute.form == DW_FORM_block2;
    if (!is_block || dwarf_formblock(&attribute, &block) != 0 || block.length < 2)
        return false;
    const unsigned char *operand = block.data + 1;
    size_t room = block.length - 1, used = 8;
    bool valid = true;
    *address = 0;
    switch (block.data[0]) {
    case DW_OP_addr: case DW_OP_const8u: case DW_OP_const8s:
        valid = room >= 8;
        memcpy(address, operand, valid ? 8 : 0);
        break;
    case DW_OP_const4u:
        used = 4;
        valid = room >= 4;
        memcpy(address, operand, valid ? 4 : 0);
        break;
    case DW_OP_addrx: case DW_OP_constx: case DW_OP_GNU_addr_index: case DW_OP_GNU_const_index:
        used = length_of_number(operand, room);
        valid = used > 0 && read_operand(die, operand, DW_FORM_addrx, address);
        break;
    default:
        return false;
    }
    bool is_address = block.data[0] == DW_OP_addr || block.data[0] == DW_OP_addrx ||
                      block.data[0] == DW_OP_GNU_addr_index;
    if (!valid || (is_address && room == used)) {
        *is_thread_local = false;
        return valid;
    }
    *is_thread_local = true;
    return !is_address && room == used + 1 && (operand[used] == DW_OP_form_tls_address ||
                                               operand[used] == DW_OP_GNU_push_tls_address);
}

/* ---- Collecting ---- */

/* "count", "tick.count"; for C++ what is exported goes by its symbol. */
static const char *name_variable(const struct die *die, const char *function, bool is_external)
{
    char text[1024];
    struct die holder;
    struct types *table = die->unit->debug->types;
    const char *name = die_name(die);
    if (!name)
        return NULL;
    if (function) {
        snprintf(text, sizeof text, "%s.%s", function, name);
        return types_string(table, text);
    }
    if (is_external && !die->unit->is_rust && die_inherit(die, AT_LINKAGE_NAME, &holder)) {
        const char *linkage = die_string(&holder, AT_LINKAGE_NAME);
        name = linkage ? linkage : name;
    }
    return types_string(table, name);
}

static void add_variable(struct collection *collection, const struct die *die, const char *function)
{
    struct debuginfo *debug = collection->debug;
    struct found found = {.source = {die->unit, die->address}, .order = collection->count};
    struct debug_variable *variable = &found.variable;
    struct die holder;
    if (!read_location(die, &variable->address, &variable->is_thread_local) ||
        !die_inherit(die, AT_TYPE, &holder) || die_inherit(die, AT_ARTIFICIAL, &holder))
        return;
    uint32_t segment = variable->is_thread_local ? PT_TLS : PT_LOAD;
    bool is_dropped = !variable->is_thread_local && variable->address == 0;
    if (is_dropped || !file_maps(&debug->main, segment, variable->address, 0))
        return;
    variable->is_external = die_inherit(die, AT_EXTERNAL, &holder) && !function;
    variable->name = name_variable(die, function, variable->is_external);
    variable->file = debuginfo_decl_file(die);
    if (!variable->name)
        return;
    collection->list = list_grow(collection->list, collection->count, &collection->capacity,
                                 sizeof *collection->list);
    collection->list[collection->count++] = found;
}

/* The functions around the entry that is looked at. */
struct scopes {
    struct { unsigned depth; const char *name; } list[MAX_SCOPES];
    unsigned count;
};

static void enter_function(struct scopes *scopes, const struct die *die, unsigned depth)
{
    if (scopes->count == MAX_SCOPES)
        return;
    scopes->list[scopes->count].depth = depth;
    scopes->list[scopes->count++].name = die_name(die);
}

static bool may_lead_to_variable(unsigned tag)
{
    return tag == DW_TAG_variable || tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine ||
           tag == DW_TAG_lexical_block || debuginfo_is_scope(tag);
}

static bool may_lead_to_global(unsigned tag)
{
    return tag == DW_TAG_variable || debuginfo_is_scope(tag);
}

static void collect_unit(struct collection *collection, struct unit *unit)
{
    struct walk walk;
    struct die die;
    struct scopes scopes = {.count = 0};
    if (!collection->enters_functions && unit->has_functions) {
        for (size_t i = 0; i < unit->global_count; i++)
            if (die_read(unit, unit->globals[i], &die))
                add_variable(collection, &die, NULL);
        return;
    }
    if (!die_root(unit, &die))
        return;
    bool (*is_wanted)(unsigned tag) =
        collection->enters_functions ? may_lead_to_variable : may_lead_to_global;
    for (walk_start(&walk, &die); walk_next_of(&walk, is_wanted, &die); ) {
        while (scopes.count > 0 && scopes.list[scopes.count - 1].depth >= walk.depth)
            scopes.count--;
        bool is_function = die.tag == DW_TAG_subprogram || die.tag == DW_TAG_inlined_subroutine;
        if (die.tag == DW_TAG_variable && die_has(&die, AT_LOCATION))
            add_variable(collection, &die, scopes.count ? scopes.list[scopes.count - 1].name : NULL);
        if (is_function && die.has_children)
            enter_function(&scopes, &die, walk.depth);
        else if (!debuginfo_is_scope(die.tag) && die.tag != DW_TAG_lexical_block)
            walk_skip(&walk, &die);
    }
}

static int compare_text(const char *a, const char *b)
{
    return a == b ? 0 : !a ? -1 : !b ? 1 : strcmp(a, b);
}

static int compare_found(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    int order = strcmp(x->variable.name, y->variable.name);
    if (order == 0)
        order = compare_text(x->variable.file, y->variable.file);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static bool is_repeated(const struct found *list, size_t count, const struct debug_variable *variable)
{
    for (size_t i = count; i-- > 0 && strcmp(list[i].variable.name, variable->name) == 0; )
        if (list[i].variable.address == variable->address &&
            list[i].variable.is_thread_local == variable->is_thread_local)
            return true;
    return false;
}

/* Sort, and drop what was met twice: as a whole and inlined, or in several units. */
static void keep_found(struct debuginfo *debug, struct collection *collection)
{
    struct found *list = collection->list;
    size_t kept = 0;
    if (collection->count == 0)
        return;
    qsort(list, collection->count, sizeof *list, compare_found);
    for (size_t i = 0; i < collection->count; i++)
        if (!is_repeated(list, kept, &list[i].variable))
            list[kept++] = list[i];
    debug->variables = memory_take_array(kept, sizeof *debug->variables);
    debug->variable_sources = memory_take_array(kept, sizeof *debug->variable_sources);
    for (size_t i = 0; i < kept; i++) {
        debug->variables[i] = list[i].variable;
        debug->variable_sources[i] = list[i].source;
    }
    debug->variable_count = kept;
}

static void find_variables(struct debuginfo *debug)
{
    size_t count;
    if (debug->has_variables)
        return;
    debug->has_variables = true;
    struct collection collection = {.debug = debug};
    struct unit *const *units = debuginfo_units(debug, &count);
    collection.enters_functions = may_have_function_statics(debug);
    for (size_t i = 0; i < count; i++)
        if (!units[i]->is_type_unit)
            collect_unit(&collection, units[i]->split ? units[i]->split : units[i]);
    keep_found(debug, &collection);
    free(collection.list);
}

/* ---- Questions ---- */

static void read_variable_type(struct debuginfo *debug, size_t index)
{
    struct debug_variable *variable = &debug->variables[index];
    const struct variable_source *source = &debug->variable_sources[index];
    struct die die, holder;
    if (variable->type)
        return;
    if (die_read(source->unit, source->die, &die) && die_inherit(&die, AT_TYPE, &holder))
        variable->type = debuginfo_value_type_of(&holder, false);
    uint32_t segment = variable->is_thread_local ? PT_TLS : PT_LOAD;
    if (!variable->type || !file_maps(&debug->main, segment, variable->address, variable->type->size))
        variable->type = debuginfo_unsupported(debug, NULL, 0, "it lies outside of the file's memory");
}

const struct debug_variable *debuginfo_variables(struct debuginfo *debug, size_t *count)
{
    types_lock(debug->types);
    find_variables(debug);
    for (size_t i = 0; i < debug->variable_count && !debug->has_variable_types; i++)
        read_variable_type(debug, i);
    debug->has_variable_types = true;
    *count = debug->variable_count;
    types_unlock(debug->types);
    return debug->variables;
}

/* The best of the variables: of the name, at the address where it is known, else by that alone. */
static size_t choose(const struct debuginfo *debug, const char *name, uint64_t address)
{
    size_t best = debug->variable_count;
    int best_score = 0;
    for (size_t i = 0; i < debug->variable_count; i++) {
        const struct debug_variable *variable = &debug->variables[i];
        bool is_there = address && variable->address == address;
        int score = 0;
        if (strcmp(variable->name, name) == 0)
            score = 2 + 2 * is_there + variable->is_external;
        else if (is_there && variable->is_external && !variable->is_thread_local)
            score = 1;
        if (score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

const struct debug_variable *debuginfo_variable(struct debuginfo *debug, const char *name,
                                                uint64_t address, struct error *error)
{
    const struct debug_variable *found = NULL;
    types_lock(debug->types);
    if (debuginfo_dwarf(debug, error)) {
        find_variables(debug);
        size_t index = choose(debug, name, address);
        if (index < debug->variable_count) {
            read_variable_type(debug, index);
            found = &debug->variables[index];
        } else {
            error_set(error, "no debug info describes '%s': compile its source with -g, or declare "
                      "it with cdef", name);
        }
    }
    types_unlock(debug->types);
    return found;
}

void debuginfo_close_variables(struct debuginfo *debug)
{
    free(debug->variables);
    free(debug->variable_sources);
}
