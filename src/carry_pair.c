/* carry_pair.c: which variable of the new image takes over which of the old one, and how: by name,
 * with the source file telling same-named ones apart. Reads no value. */
#include "carry_internal.h"

#include "memory.h"
#include "stage.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

struct group {               /* variables of one name */
    const struct variable *list;
    size_t count;
};

static struct group group_at(const struct variable *list, size_t count, size_t start)
{
    size_t end = start;
    while (end < count && strcmp(list[end].name, list[start].name) == 0)
        end++;
    return (struct group){list + start, end - start};
}

static bool same_file(const struct variable *a, const struct variable *b)
{
    return a->file && b->file && strcmp(a->file, b->file) == 0;
}

static bool is_taken(const struct carry *carry, const struct variable *old, size_t count,
                     const struct variable *new)
{
    for (size_t i = 0; i < count; i++)
        if (carry->partners[old - carry->old_variables + (ptrdiff_t)i] == new)
            return true;
    return false;
}

static void pair_group(struct carry *carry, struct group old, struct group new, bool by_file)
{
    const struct variable **partners = carry->partners + (old.list - carry->old_variables);
    for (size_t i = 0; i < old.count; i++)
        for (size_t j = 0; !partners[i] && j < new.count; j++) {
            bool fits = old.list[i].is_thread_local == new.list[j].is_thread_local &&
                        (!by_file || same_file(&old.list[i], &new.list[j]));
            if (fits && !is_taken(carry, old.list, old.count, &new.list[j]))
                partners[i] = &new.list[j];
        }
}

/* What the files do not tell apart goes in order, if as many came as went. */
static void pair_by_name(struct carry *carry)
{
    size_t at = 0;
    for (size_t i = 0; i < carry->old_count; ) {
        struct group old = group_at(carry->old_variables, carry->old_count, i);
        while (at < carry->new_count && strcmp(carry->new_variables[at].name, old.list->name) < 0)
            at++;
        struct group new = {NULL, 0};
        if (at < carry->new_count && strcmp(carry->new_variables[at].name, old.list->name) == 0)
            new = group_at(carry->new_variables, carry->new_count, at);
        if (old.count > 1 || new.count > 1)
            pair_group(carry, old, new, true);
        if (old.count == new.count)
            pair_group(carry, old, new, false);
        i += old.count;
    }
}

/* ---- Treatment ---- */

static bool is_named(const struct carry_options *options, const char *name)
{
    for (const char *const *listed = options->names; listed && *listed; listed++)
        if (strcmp(*listed, name) == 0)
            return true;
    return false;
}

/* Does the user want it carried, and how? */
static bool choose(const struct carry *carry, const struct carry_options *options,
                   const struct variable *old, const struct variable *new,
                       enum carry_treatment *treatment)
{
    const struct variable *marked = new ? new : old;
    const struct carry_symbols *symbols = new ? &carry->new_symbols : &carry->old_symbols;
    uintptr_t address = (uintptr_t)marked->address;
    bool is_state = !marked->is_thread_local && carry_in_area(&symbols->state, address);
    bool is_transient = !marked->is_thread_local && carry_in_area(&symbols->transient, address);
    *treatment = options->mode == CARRY_MERGE ? TREAT_MERGE : TREAT_WHOLE;
    if (is_transient)
        return false;
    return is_state || options->mode == CARRY_MERGE || options->mode == CARRY_ALL ||
           (options->mode == CARRY_LIST && is_named(options, old->name));
}

static bool is_described(const struct variable *variable)
{
    return variable->type && !type_complete(variable->type->plain)->is_incomplete;
}

static int compare_name(const void *name, const void *variable)
{
    return strcmp(name, ((const struct variable *)variable)->name);
}

static const char *reason_without_partner(const struct carry *carry, const struct variable *old)
{
    const struct variable *other = bsearch(old->name, carry->new_variables, carry->new_count,
                                           sizeof *other, compare_name);
    if (!other)
        return "the new image has no such variable";
    if (other->is_thread_local && !old->is_thread_local)
        return "it is thread-local in the new image";
    return "of several variables of that name no file tells which it has become";
}

static const char *reason_to_reset(const struct carry *carry, const struct variable *old,
                                   const struct variable *new)
{
    if (old->is_thread_local)
        return "thread-local: each thread starts with the new initial value";
    if (!new)
        return reason_without_partner(carry, old);
    if (!new->is_writable)
        return "it is const in the new image";
    if (is_described(old) && is_described(new))
        return NULL;
    if (old->size == 0 || old->size != new->size || !old->is_exported || !new->is_exported)
        return "its type is unknown: compile both versions with -g";
    return NULL;
}

/* ---- Thread-locals ---- */

/* The initial bytes of a thread-local: those that the file has no room for are zero. */
static bool read_thread_initial(const struct image *image, const struct variable *variable, char *buffer)
{
    const char *bytes = stage_bytes(image->stage);
    const Elf64_Ehdr *header = (const void *)bytes;
    const Elf64_Phdr *segments = (const void *)(bytes + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        uint64_t offset = variable->thread_offset, in_file = segments[i].p_filesz;
        if (segments[i].p_type != PT_TLS || offset > segments[i].p_memsz ||
            variable->size > segments[i].p_memsz - offset)
            continue;
        uint64_t given = offset < in_file ? in_file - offset : 0;
        given = given < variable->size ? given : variable->size;
        memcpy(buffer, bytes + segments[i].p_offset + offset, given);
        memset(buffer + given, 0, variable->size - given);
        return true;
    }
    return false;
}

/* Does it begin in every thread as it did, and with the same type? */
static bool is_thread_same(struct carry *carry, const struct variable *old, const struct variable *new)
{
    if (!new || old->size != new->size || !is_described(old) || !is_described(new) || old->size == 0 ||
        !carry_compile(&carry->compiler, old->type, old->size, new->type, new->size)->is_plain)
        return false;
    char *initial = malloc(2 * old->size);
    bool is_same = initial && read_thread_initial(carry->old_image, old, initial) &&
                   read_thread_initial(carry->new_image, new, initial + old->size) &&
                   memcmp(initial, initial + old->size, old->size) == 0;
    free(initial);
    return is_same;
}

/* ---- Programs ---- */

/* Of a variable with a flexible array at its end only the symbol knows the size. */
static uint64_t real_size(struct carry_symbols *symbols, const struct variable *variable)
{
    const struct type *type = variable->type ? type_complete(variable->type->plain) : NULL;
    uint64_t size = type && type->size > variable->size ? type->size : variable->size;
    bool is_scalar = type && type->size > 0 && type->kind != TYPE_STRUCT && type->kind != TYPE_UNION &&
                     type->kind != TYPE_ARRAY;
    if (is_scalar)
        return size;
    const struct carry_symbol *symbol = carry_symbol_at(symbols, (uintptr_t)variable->address);
    return symbol && symbol->size > size ? symbol->size : size;
}

static void compile_pair(struct carry *carry, struct carry_pair *pair, const struct variable *old,
                         const struct variable *new)
{
    pair->from = old->address;
    pair->to = new->address;
    pair->from_size = real_size(&carry->old_symbols, old);
    pair->to_size = real_size(&carry->new_symbols, new);
    if (!is_described(old) || !is_described(new))
        return;
    const struct carry_program *program = carry_compile(&carry->compiler, old->type,
                                                        pair->from_size,
                                                        new->type, pair->to_size);
    const struct carry_step *first = program->leaves.list;
    pair->program = program;
    if (program->leaves.count == 1 && first->kind == STEP_LOST && !*first->path) {
        pair->treatment = TREAT_RESET;
        pair->why = carry_text(&carry->compiler, "%s: %s",
                               carry_describe_change(&carry->compiler, program), first->why);
        return;
    }
    pair->change = carry_describe_change(&carry->compiler, program);
}

/* Do both images begin with the same bytes? Constructors have run. */
static bool is_initial_same(const struct carry *carry, const struct carry_pair *pair)
{
    const struct pristine *old = carry->old_image->pristine, *new = carry->new_image->pristine;
    char old_buffer[4096], new_buffer[4096];
    if (pair->from_size != pair->to_size || (pair->program && !pair->program->is_plain) ||
        !pristine_covers(old, pair->from, pair->from_size) || !pristine_covers(new, pair->to,
                                                                               pair->to_size))
        return false;
    for (uint64_t at = 0; at < pair->from_size; at += sizeof old_buffer) {
        uint64_t size = pair->from_size - at;
        size = size < sizeof old_buffer ? size : sizeof old_buffer;
        const void *was = pristine_view(old, pair->from + at, size, old_buffer);
        const void *is = pristine_view(new, pair->to + at, size, new_buffer);
        if (was != is && memcmp(was ? was : carry_zeros, is ? is : carry_zeros, size) != 0)
            return false;
    }
    return true;
}

static void plan_variable(struct carry *carry, const struct carry_options *options,
                          const struct variable *old, const struct variable *new)
{
    struct carry_pair *pair = &carry->pairs[carry->pair_count];
    *pair = (struct carry_pair){.name = old->name};
    if (!old->is_writable || !choose(carry, options, old, new, &pair->treatment))
        return;
    carry->pair_count++;
    pair->why = reason_to_reset(carry, old, new);
    pair->is_restarted = old->is_thread_local && is_thread_same(carry, old, new);
    if (pair->is_restarted)
        pair->why = "thread-local: each thread starts with its initial value again";
    if (pair->why)
        pair->treatment = TREAT_RESET;
    else
        compile_pair(carry, pair, old, new);
    if (pair->treatment == TREAT_MERGE && carry->old_image->is_mapped &&
        carry->new_image->is_mapped)
        pair->is_initial_same = is_initial_same(carry, pair);
}

/* ---- Statics that only the symbol table has: a source compiled without -g ---- */

struct addresses {           /* of the described variables: open addressing, 0: free */
    uintptr_t *table;
    size_t mask;
};

static uintptr_t *address_slot(const struct addresses *addresses, uintptr_t address)
{
    size_t i = (address >> 2) * 0x9e3779b97f4a7c15u >> 20 & addresses->mask;
    while (addresses->table[i] && addresses->table[i] != address)
        i = (i + 1) & addresses->mask;
    return &addresses->table[i];
}

static struct addresses take_addresses(const struct variable *list, size_t count)
{
    struct addresses addresses = {.mask = 15};
    while (addresses.mask < 2 * count)
        addresses.mask = 2 * addresses.mask + 1;
    addresses.table = memory_take_array(addresses.mask + 1, sizeof *addresses.table);
    for (size_t i = 0; i < count; i++)
        if (list[i].address)
            *address_slot(&addresses, (uintptr_t)list[i].address) = (uintptr_t)list[i].address;
    return addresses;
}

static bool is_hidden_state(const struct carry *carry, const struct addresses *known,
                            const struct carry_symbol *symbol)
{
    const struct pristine *pristine = carry->old_image->pristine;
    if (!symbol->is_local || symbol->is_function || symbol->size == 0 || symbol->name[0] == '_' ||
        strncmp(symbol->name, "completed.", 10) == 0)
        return false;
    if (!pristine || !pristine_covers(pristine, (const void *)symbol->address, symbol->size))
        return false;
    return !*address_slot(known, symbol->address);
}

static void plan_hidden(struct carry *carry, const struct carry_options *options)
{
    bool wants_all = options->mode == CARRY_MERGE || options->mode == CARRY_ALL;
    struct addresses known = take_addresses(carry->old_variables, carry->old_count);
    for (size_t i = 0; wants_all && i < carry->old_symbols.count; i++) {
        const struct carry_symbol *symbol = &carry->old_symbols.list[i];
        if (is_hidden_state(carry, &known, symbol))
            carry->pairs[carry->pair_count++] = (struct carry_pair){
                .name = symbol->name, .treatment = TREAT_RESET,
                .why = "its type is unknown: compile with -g",
            };
    }
    free(known.table);
}

void carry_pair_variables(struct carry *carry, const struct carry_options *options)
{
    pair_by_name(carry);
    for (size_t i = 0; i < carry->old_count; i++)
        plan_variable(carry, options, &carry->old_variables[i], carry->partners[i]);
    plan_hidden(carry, options);
}
