/* image_read.c: variables, types and enumerators of an image, from its symbols, its cdef and its
 * debug info. */
#include "image.h"

#include "cdecl.h"
#include "debuginfo.h"
#include "memory.h"
#include "stage.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>

/* Is the file address in memory that the program may write (RELRO is not)? */
static bool is_writable(const struct image *image, uint64_t address)
{
    const ElfW(Ehdr) *header = stage_bytes(image->stage);
    const ElfW(Phdr) *segments = (const void *)((const char *)header + header->e_phoff);
    bool writable = false;
    for (int i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *segment = &segments[i];
        if (address - segment->p_vaddr >= segment->p_memsz)
            continue;
        if (segment->p_type == PT_GNU_RELRO)
            return false;
        if (segment->p_type == PT_LOAD)
            writable = (segment->p_flags & PF_W) != 0;
    }
    return writable;
}

static void variable_of_symbol(struct image *image, const struct symbol *symbol, struct variable *variable)
{
    *variable = (struct variable){
        .name = symbol->name, .size = symbol->size, .is_exported = true,
        .is_writable = symbol->is_writable, .is_thread_local = symbol->kind == SYMBOL_THREAD_LOCAL,
    };
    if (variable->is_thread_local)
        variable->thread_offset = symbol->address;
    else
        variable->address = (void *)(image->bias + symbol->address);
    if (image->declarations)
        variable->type = cdecl_symbol(image->declarations, symbol->name);
}

static void describe(struct image *image, const struct debug_variable *debug, struct variable *variable)
{
    if (!variable->type)
        variable->type = debug->type;
    variable->file = debug->file;
    variable->is_thread_local = debug->is_thread_local;
    if (!variable->name) {
        variable->name = debug->name;
        variable->size = type_complete(debug->type)->size;
        variable->is_writable = debug->is_thread_local || is_writable(image, debug->address);
        if (debug->is_thread_local)
            variable->thread_offset = debug->address;
        else
            variable->address = (void *)(image->bias + debug->address);
    }
}

static int by_name(const void *name, const void *variable)
{
    return strcmp(name, ((const struct debug_variable *)variable)->name);
}

bool image_find_variable(struct image *image, const char *name, struct variable *variable,
                         struct error *error)
{
    const struct symbol *symbol = elf_find_symbol(&image->facts, name);
    bool is_variable = symbol && (symbol->kind == SYMBOL_VARIABLE || symbol->kind == SYMBOL_THREAD_LOCAL);
    if (is_variable) {
        variable_of_symbol(image, symbol, variable);
        const struct debug_variable *debug = NULL;
        if (image->debug)
            debug = debuginfo_variable(image->debug, name, symbol->address, NULL);
        if (debug)
            describe(image, debug, variable);
        return true;
    }
    if (image->debug && !symbol) {
        size_t count;
        const struct debug_variable *all = debuginfo_variables(image->debug, &count);
        const struct debug_variable *found = all ? bsearch(name, all, count, sizeof *all, by_name) : NULL;
        if (found) {
            *variable = (struct variable){0};
            describe(image, found, variable);
            return true;
        }
    }
    return error_set(error, "%s: no variable '%s'", image->source, name);
}

static bool comes_after(const struct variable *a, const struct variable *b)
{
    int order = strcmp(a->name, b->name);
    return order ? order > 0 : a->address > b->address;
}

/* Is the described variable one of the exported ones already listed? Those come first, by name. */
static struct variable *find_listed(struct variable *list, size_t count, const char *name)
{
    struct variable key = {.name = name};
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(key.name, list[middle].name);
        if (order == 0)
            return &list[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct variables {
    size_t count;
    struct variable list[];
};

/* Two sorted lists, one behind the other, become one. */
static void merge_lists(struct variable *list, size_t first, size_t count)
{
    struct variable *copy = memory_take((first + 1) * sizeof *copy);
    size_t left = 0, right = first;
    memcpy(copy, list, first * sizeof *copy);
    for (size_t i = 0; left < first; i++)
        list[i] = right < count && comes_after(&copy[left], &list[right]) ? list[right++] : copy[left++];
    free(copy);
}

/* Same-named ones by their address: they come by name already. */
static void order_groups(struct variable *list, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j > 0 && comes_after(&list[j - 1], &list[j]); j--) {
            struct variable held = list[j];
            list[j] = list[j - 1];
            list[j - 1] = held;
        }
}

static struct variables *list_variables(struct image *image)
{
    size_t debug_count = 0, used = 0;
    const struct debug_variable *all = NULL;
    if (image->debug)
        all = debuginfo_variables(image->debug, &debug_count);
    size_t most = image->facts.symbol_count + debug_count;
    struct variables *variables = memory_take(sizeof *variables + most * sizeof *variables->list);
    struct variable *list = variables->list;
    for (size_t i = 0; i < image->facts.symbol_count; i++) {
        const struct symbol *symbol = &image->facts.symbols[i];
        if (symbol->kind == SYMBOL_VARIABLE || symbol->kind == SYMBOL_THREAD_LOCAL)
            variable_of_symbol(image, symbol, &list[used++]);
    }
    size_t exported = used;
    for (size_t i = 0; i < debug_count; i++) {
        struct variable *listed = find_listed(list, exported, all[i].name);
        uintptr_t address = image->bias + all[i].address;
        if (listed && (listed->is_thread_local || (uintptr_t)listed->address == address))
            describe(image, &all[i], listed);
        else
            describe(image, &all[i], &list[used++]);
    }
    merge_lists(list, exported, used);
    order_groups(list, used);
    variables->count = used;
    return variables;
}

const struct variable *image_variables(struct image *image, size_t *count)
{
    struct variables *known = __atomic_load_n(&image->variables, __ATOMIC_ACQUIRE);
    if (!known) {
        struct variables *made = list_variables(image);
        bool is_first = __atomic_compare_exchange_n(&image->variables, &known, made, false, __ATOMIC_ACQ_REL,
                                                    __ATOMIC_ACQUIRE);
        if (is_first)
            known = made;
        else
            free(made);
    }
    *count = known->count;
    return known->list;
}

const struct type *image_named_type(struct image *image, const char *name)
{
    const struct type *type = NULL;
    if (image->declarations)
        type = cdecl_type(image->declarations, name);
    if (!type && image->debug)
        type = debuginfo_type(image->debug, name);
    return type;
}

const struct type *image_type(struct image *image, const char *expression, struct error *error)
{
    const struct type *type = image_named_type(image, expression);
    if (type)
        return type;
    return cdecl_parse_type(image->types, expression, &image_names, image, error);
}

bool image_enumerator(struct image *image, const char *name, int64_t *value)
{
    if (image->declarations && cdecl_enumerator(image->declarations, name, value))
        return true;
    return image->debug && debuginfo_enumerator(image->debug, name, value);
}

static const struct type *look_up_type(void *image, const char *name)
{
    return image_named_type(image, name);
}

static bool look_up_constant(void *image, const char *name, int64_t *value)
{
    return image_enumerator(image, name, value);
}

const struct cdecl_lookup image_names = {look_up_type, look_up_constant};
