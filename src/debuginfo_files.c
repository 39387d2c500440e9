/* debuginfo_files.c: base names of source files by number, from the head of a unit's line table
 * (libdw would read all its lines for that). */
#include "debuginfo_scan.h"

#include <stdlib.h>

enum { MAX_FILES = 1 << 16, MAX_FORMATS = 16 };

struct reader {
    const struct unit *unit;
    const unsigned char *at, *end;        /* at NULL: it ended too early */
    unsigned offset_size;
};

static uint64_t take(struct reader *reader, unsigned size)
{
    if (!reader->at || (size_t)(reader->end - reader->at) < size) {
        reader->at = NULL;
        return 0;
    }
    reader->at += size;
    return size > 8 ? 0 : scan_bytes(reader->at - size, size);
}

static uint64_t take_number(struct reader *reader)
{
    return reader->at ? scan_unsigned(&reader->at, reader->end) : 0;
}

static const char *take_string(struct reader *reader)
{
    const unsigned char *text = reader->at;
    const unsigned char *end = text ? memchr(text, 0, (size_t)(reader->end - text)) : NULL;
    reader->at = end ? end + 1 : NULL;
    return end ? (const char *)text : NULL;
}

static const char *string_at(const struct reader *reader, enum section section, uint64_t offset)
{
    const Elf_Data *data = reader->unit->sections->data[section][0];
    if (!data || !data->d_buf || offset >= data->d_size)
        data = reader->unit->sections->data[section][1];
    if (!data || !data->d_buf || offset >= data->d_size)
        return NULL;
    const char *text = (const char *)data->d_buf + offset;
    return memchr(text, 0, data->d_size - offset) ? text : NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

static void add_file(struct unit *unit, size_t *capacity, const char *path)
{
    unit->files = list_grow(unit->files, unit->file_count, capacity, sizeof *unit->files);
    unit->files[unit->file_count++] = types_string(unit->debug->types, base_name(path));
}

/* Before DWARF 5: directories, then files from number 1, each list ended by an empty string. */
static void read_lists(struct unit *unit, struct reader *reader)
{
    const char *text;
    size_t capacity = 0;
    while ((text = take_string(reader)) && *text)
        continue;
    add_file(unit, &capacity, NULL);
    while ((text = take_string(reader)) && *text && unit->file_count < MAX_FILES) {
        add_file(unit, &capacity, text);
        for (int i = 0; i < 3; i++)
            take_number(reader);
    }
}

/* One value of a DWARF 5 list; its text if it is one. */
static const char *take_value(struct reader *reader, uint64_t form)
{
    switch (form) {
    case DW_FORM_string:
        return take_string(reader);
    case DW_FORM_line_strp:
        return string_at(reader, SECTION_LINE_STR, take(reader, reader->offset_size));
    case DW_FORM_strp:
        return string_at(reader, SECTION_STR, take(reader, reader->offset_size));
    case DW_FORM_udata:
        take_number(reader);
        return NULL;
    case DW_FORM_block: {
        uint64_t length = take_number(reader);
        bool fits = reader->at && length <= (size_t)(reader->end - reader->at);
        reader->at = fits ? reader->at + length : NULL;
        return NULL;
    }
    default: {
        int size = scan_form_size(reader->unit, (unsigned)form);
        if (size > 0)
            take(reader, (unsigned)size);
        else
            reader->at = NULL;
        return NULL;
    }
    }
}

/* A DWARF 5 list of directories or files; the files are kept. */
static void read_table(struct unit *unit, struct reader *reader, bool is_files)
{
    uint64_t formats[MAX_FORMATS][2];
    size_t capacity = 0;
    unsigned format_count = (unsigned)take(reader, 1);
    for (unsigned i = 0; i < format_count; i++) {
        uint64_t what = take_number(reader), form = take_number(reader);
        if (i >= MAX_FORMATS)
            return;
        formats[i][0] = what;
        formats[i][1] = form;
    }
    uint64_t count = take_number(reader);
    for (uint64_t n = 0; n < count && n < MAX_FILES && format_count > 0 && reader->at; n++) {
        const char *path = NULL;
        for (unsigned i = 0; i < format_count; i++) {
            const char *text = take_value(reader, formats[i][1]);
            if (formats[i][0] == DW_LNCT_path)
                path = text;
        }
        if (is_files && reader->at)
            add_file(unit, &capacity, path);
    }
}

static void read_files(struct unit *unit)
{
    Dwarf_Attribute attribute;
    Dwarf_Word offset;
    Elf_Data *data = unit->sections->data[SECTION_LINE][unit->is_dwo];
    bool has_table = dwarf_attr(&unit->root, DW_AT_stmt_list, &attribute) &&
                     dwarf_formudata(&attribute, &offset) == 0;
    if (!has_table && unit->is_dwo && data)
        offset = 0;                           /* the only table of a .dwo file */
    else if (!has_table)
        return;
    if (!data || !data->d_buf || offset >= data->d_size)
        return;
    const unsigned char *bytes = data->d_buf;
    struct reader reader = {unit, bytes + offset, bytes + data->d_size, 4};
    if (take(&reader, 4) == 0xffffffff) {
        reader.offset_size = 8;
        take(&reader, 8);
    }
    uint64_t version = take(&reader, 2);
    if (version < 2 || version > 5)
        return;
    take(&reader, version == 5 ? 2 : 0);
    take(&reader, reader.offset_size);
    take(&reader, version >= 4 ? 5 : 4);
    uint64_t opcodes = take(&reader, 1);
    take(&reader, opcodes > 0 ? (unsigned)opcodes - 1 : 0);
    if (version == 5) {
        read_table(unit, &reader, false);
        read_table(unit, &reader, true);
    } else {
        read_lists(unit, &reader);
    }
}

const char *debuginfo_decl_file(const struct die *die)
{
    struct die holder;
    int64_t number = -1;
    struct unit *unit = die->unit;
    if (die_inherit(die, AT_DECL_FILE, &holder) && die_number(&holder, AT_DECL_FILE, &number))
        unit = holder.unit;
    if (!unit->has_files) {
        unit->has_files = true;
        read_files(unit);
    }
    if (number >= 0 && (uint64_t)number < unit->file_count && unit->files[number])
        return unit->files[number];
    struct die root;
    const char *name = die_root(unit, &root) ? die_string(&root, AT_NAME) : NULL;
    return types_string(unit->debug->types, base_name(name));
}
