/* debuginfo.c: opens and closes the debug information of a file, and finds source lines. The other
 * questions are debuginfo_find.c, debuginfo_names.c and debuginfo_variables.c. */
#include "debuginfo_internal.h"

#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The table's last reference went. */
static void destroy(void *context)
{
    struct debuginfo *debug = context;
    debuginfo_close_variables(debug);
    debuginfo_close_names(debug);
    debuginfo_close_units(debug);
    map_free(&debug->notes);
    map_free(&debug->tagged);
    map_free(&debug->unsupported);
    file_close(&debug->alternate);
    file_close(&debug->separate);
    file_close(&debug->main);
    free(debug->source_directory);
    free(debug);
}

struct debuginfo *debuginfo_open(const char *path, const struct debug_bytes *mapped,
                                 const char *source_directory, struct error *error)
{
    struct debuginfo *debug = memory_take(sizeof *debug);
    debug->main.descriptor = debug->separate.descriptor = debug->alternate.descriptor = -1;
    debug->source_directory = memory_copy_text(source_directory);
    debug->types = types_new(debuginfo_read_lazy, debug, destroy);
    if (mapped)
        debug->main.mapped = *mapped;
    if ((file_open_mapped(&debug->main, path) || file_open(&debug->main, path, true, error)) &&
        file_open_separate(&debug->main, source_directory, &debug->separate, error))
        return debug;
    types_release(debug->types);
    return NULL;
}

void debuginfo_close(struct debuginfo *debug)
{
    if (debug)
        types_release(debug->types);
}

struct types *debuginfo_types(struct debuginfo *debug)
{
    return debug->types;
}

/* ---- Source lines ---- */

/* The innermost function, also an inlined one, whose code the address is. */
static const char *find_function(struct unit *unit, uint64_t address, uint64_t *start)
{
    struct walk walk;
    struct die die;
    const char *name = NULL;
    if (!die_root(unit, &die))
        return NULL;
    for (walk_start(&walk, &die); walk_next(&walk, &die); ) {
        bool is_function = die.tag == DW_TAG_subprogram || die.tag == DW_TAG_inlined_subroutine;
        bool has_code = die_has(&die, AT_LOW_PC) || die_has(&die, AT_RANGES);
        bool is_around = false;
        Dwarf_Die handle;
        if (has_code && (is_function || die.tag == DW_TAG_lexical_block)) {
            handle = die_handle(&die);
            is_around = dwarf_haspc(&handle, address) > 0;
        }
        if (is_around && is_function) {
            name = die_name(&die);
            dwarf_entrypc(&handle, start);
        }
        if (!is_around && !debuginfo_is_scope(die.tag))
            walk_skip(&walk, &die);
    }
    return name;
}

/* The file as an absolute path where the unit says where it was compiled. */
static const char *absolute_path(struct unit *unit, const char *file)
{
    char text[4096];
    Dwarf_Attribute attribute;
    const char *directory = NULL;
    if (file[0] != '/' && dwarf_attr(&unit->root, DW_AT_comp_dir, &attribute))
        directory = dwarf_formstring(&attribute);
    if (!directory)
        return types_string(unit->debug->types, file);
    snprintf(text, sizeof text, "%s/%s", directory, file);
    return types_string(unit->debug->types, text);
}

static bool find_line(struct debuginfo *debug, uint64_t address, struct debug_line *line)
{
    struct unit *unit = debuginfo_unit_of_address(debug, address);
    Dwarf_Line *found = unit ? dwarf_getsrc_die(&unit->root, address) : NULL;
    const char *file = found ? dwarf_linesrc(found, NULL, NULL) : NULL;
    if (!file || dwarf_lineno(found, &line->line) != 0 || line->line <= 0)
        return false;
    line->file = absolute_path(unit, file);
    unit = unit->split ? unit->split : unit;
    line->function = types_string(debug->types, find_function(unit, address, &line->start));
    return true;
}

bool debuginfo_line(struct debuginfo *debug, uint64_t address, struct debug_line *line)
{
    *line = (struct debug_line){0};
    types_lock(debug->types);
    bool found = find_line(debug, address, line);
    types_unlock(debug->types);
    return found;
}
