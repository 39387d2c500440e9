/* debuginfo_internal.h: what the readers of debug information share; only for debuginfo*.c. All
 * of it runs under the type table's lock. Input is hostile until proven: every position is checked
 * against its unit's end, every chain of references and every depth is bounded. */
#ifndef HOTLUA_DEBUGINFO_INTERNAL_H
#define HOTLUA_DEBUGINFO_INTERNAL_H

#include "debuginfo.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <gelf.h>

/* ---- debuginfo_map.c: hash tables that only grow ---- */

struct map_entry {
    uint64_t key;
    void *value;             /* NULL: an empty place */
};

struct map {                 /* from numbers or addresses to non-NULL pointers */
    struct map_entry *entries;
    size_t count, capacity;  /* capacity: 0 or a power of two */
};

/* The place of `key`'s value, made (holding NULL) if it is not there: the caller fills it at once. */
void **map_claim(struct map *map, uint64_t key);
void *map_get(const struct map *map, uint64_t key);
void map_free(struct map *map);
uint64_t map_hash(const char *text);

/* Room for `count + 1` items of `size` in the list; doubles it when it is full. */
void *list_grow(void *list, size_t count, size_t *capacity, size_t size);

/* ---- debuginfo_file.c: the bytes ---- */

struct debug_file {
    int descriptor;          /* -1: none */
    void *bytes;             /* mapped privately, or NULL when read through the descriptor */
    size_t size;
    struct debug_bytes mapped;           /* the caller's, zero: none */
    Elf *elf;
    char *path;
};

/* Open the ELF file whose bytes are in file->mapped. False if there are none or they will not do: libelf
 * would write to them. */
bool file_open_mapped(struct debug_file *file, const char *path);

/* Open an ELF file. What lies in a place that only the system's packages write is mapped, and so
 * is a `stable` one; anything else is read, since whoever rewrites it would tear it under us. */
bool file_open(struct debug_file *file, const char *path, bool stable, struct error *error);
void file_close(struct debug_file *file);

/* The section of that name, NULL if there is none or it holds no bytes. */
Elf_Scn *file_section(const struct debug_file *file, const char *name, GElf_Shdr *header);
/* Fill `separate` with the debug file that `file` names by build-id or debuglink. False with error. */
bool file_open_separate(const struct debug_file *file, const char *source_directory,
                        struct debug_file *separate, struct error *error);
/* Fill `alternate` with the supplementary file that `file` shares debug information with (dwz);
 * false if it names none or that is not found. */
bool file_open_alternate(const struct debug_file *file, const char *source_directory,
                         struct debug_file *alternate);
/* Does [address, address + size) lie in a segment of that type? */
bool file_maps(const struct debug_file *file, uint32_t segment, uint64_t address, uint64_t size);

/* ---- debuginfo_scan.c: units and entries, as fast as the bytes can be walked ---- */

enum attribute {
    AT_NAME, AT_LINKAGE_NAME, AT_TYPE, AT_SIBLING, AT_DECLARATION, AT_SPECIFICATION,
    AT_ABSTRACT_ORIGIN, AT_SIGNATURE, AT_LOW_PC, AT_RANGES, AT_LOCATION, AT_EXTERNAL, AT_ARTIFICIAL,
    AT_BYTE_SIZE, AT_BIT_SIZE, AT_BIT_OFFSET, AT_DATA_BIT_OFFSET, AT_MEMBER_LOCATION,
    AT_CONST_VALUE, AT_ENCODING, AT_COUNT, AT_UPPER_BOUND, AT_LOWER_BOUND, AT_BYTE_STRIDE,
    AT_PROTOTYPED, AT_VECTOR, AT_ALIGNMENT, AT_CALLING_CONVENTION, AT_CONTAINING_TYPE,
    AT_DECL_FILE, AT_DECL_LINE, ATTRIBUTES
};

struct abbreviations;

enum section { SECTION_INFO, SECTION_TYPES, SECTION_ABBREV, SECTION_LINE, SECTION_LINE_STR,
               SECTION_STR, SECTIONS };

struct sections {            /* of one file; [1]: those whose name ends in .dwo. NULL: absent */
    Elf_Data *data[SECTIONS][2];
};

struct function_entry {
    uint64_t address;
    const unsigned char *die;
};

struct function_name {
    const char *name;
    const unsigned char *die;
    bool is_definition;
    struct function_name *next;           /* of the same hash */
};

struct unit {
    struct debuginfo *debug;
    Dwarf_CU *cu;
    Dwarf_Die root;
    const unsigned char *start, *end;     /* of its header; after its last byte */
    unsigned version, address_size, offset_size;
    bool is_c, is_cplusplus, is_rust, is_assembler;
    bool is_type_unit;
    const struct sections *sections;
    bool is_dwo;                          /* its sections are those of a .dwo file */
    struct abbreviations *abbreviations;
    struct unit *split;                   /* a skeleton's other half, where the entries are */
    const char *missing;                  /* a skeleton's other half that was not found */
    bool has_functions;                   /* the lists below were made, in one walk */
    struct function_entry *functions;     /* sorted by address */
    size_t function_count;
    const unsigned char **globals;        /* variables with a location, outside of functions; in order */
    size_t global_count;
    bool has_names;
    struct map names;                     /* hash of a function's name to struct function_name */
    bool has_files;
    const char **files;                   /* base names by DW_AT_decl_file, NULL where unknown */
    size_t file_count;
};

struct die {                              /* one debugging information entry, taken apart */
    struct unit *unit;
    const unsigned char *address;
    const unsigned char *after;           /* its first child, or the next entry */
    unsigned tag;
    bool has_children;
    uint64_t has;                         /* bit n: enum attribute n is there */
    struct {
        const unsigned char *value;
        unsigned form;
    } at[ATTRIBUTES];
};

/* Walks the entries below one, in the order of the file. */
struct walk {
    struct unit *unit;
    const unsigned char *at;
    unsigned depth;                       /* of the entry returned last; 1: a direct child */
    unsigned next_depth;
};

/* ---- debuginfo_units.c ---- */

/* libdw's handle of the file, opened at the first need. NULL with error. */
Dwarf *debuginfo_dwarf(struct debuginfo *debug, struct error *error);
/* All units, also type units, of the file. For a skeleton the half that was found. */
struct unit *const *debuginfo_units(struct debuginfo *debug, size_t *count);
/* The unit of a libdw handle; NULL if it cannot be read. */
struct unit *debuginfo_unit(struct debuginfo *debug, Dwarf_CU *cu);
/* The unit whose code the file address lies in, NULL if none says so. A skeleton stays one. */
struct unit *debuginfo_unit_of_address(struct debuginfo *debug, uint64_t address);
/* Free what was made above, and libdw's handles. */
void debuginfo_close_units(struct debuginfo *debug);

bool die_read(struct unit *unit, const unsigned char *address, struct die *die);
bool die_root(struct unit *unit, struct die *die);
static inline bool die_has(const struct die *die, enum attribute attribute)
{
    return die->has >> attribute & 1;
}
/* libdw's view of an attribute that is there, of an entry. */
Dwarf_Attribute die_attribute(const struct die *die, enum attribute attribute);
Dwarf_Die die_handle(const struct die *die);
/* The attribute as text; NULL if absent or empty. */
const char *die_string(const struct die *die, enum attribute attribute);
/* As a number; false if absent or not a constant. Unsigned forms are not sign-extended. */
bool die_number(const struct die *die, enum attribute attribute, int64_t *value);
bool die_flag(const struct die *die, enum attribute attribute);
/* The entry that the attribute refers to. False if absent or outside. `to` may be `die`. */
bool die_refer(const struct die *die, enum attribute attribute, struct die *to);
/* The same for the entry that this one is an instance or the definition of. */
bool die_origin(const struct die *die, struct die *origin);
/* The attribute of the entry or of those it is an instance or definition of; `holder` has it. */
bool die_inherit(const struct die *die, enum attribute attribute, struct die *holder);
/* Its name, also through what it is an instance of. */
const char *die_name(const struct die *die);

void walk_start(struct walk *walk, const struct die *parent);
/* The next entry, false at the end or where the data make no sense. */
bool walk_next(struct walk *walk, struct die *die);
/* The next one with a tag that is wanted; what is not is passed over with all that lies below it. */
bool walk_next_of(struct walk *walk, bool (*is_wanted)(unsigned tag), struct die *die);
/* Do not go below the entry that walk_next gave last. */
void walk_skip(struct walk *walk, const struct die *die);


/* ---- debuginfo_files.c ---- */

/* Base name of the source file that DW_AT_decl_file names, else of the unit's; NULL if unknown. */
const char *debuginfo_decl_file(const struct die *die);

/* ---- debuginfo_types.c, debuginfo_struct.c ---- */

enum { MAX_DEPTH = 200 };                 /* of types read inside types */

/* The type that AT_TYPE of the entry names (void without one); what it reaches through pointers
 * stays lazy. Never NULL. */
const struct type *debuginfo_type_of(const struct die *die);
/* The same, to be held by value (or to be a function's result): complete, and unsupported where it
 * cannot be. */
const struct type *debuginfo_value_type_of(const struct die *die, bool is_result);
/* The type that the entry is. */
const struct type *debuginfo_read_type(const struct die *die);
/* The function type of a subprogram or subroutine type. */
const struct type *debuginfo_read_function(const struct die *die);
struct type *debuginfo_unsupported(struct debuginfo *debug, const char *name, uint64_t size,
                                   const char *reason);
/* Make a lazy struct, union or enum whole: types_reader of the table. */
void debuginfo_read_lazy(void *debug, struct type *type);
/* Fields of a struct or union from its definition; false when it is only good as opaque: *reason. */
bool debuginfo_read_fields(const struct die *die, struct type *type, const char **reason);
void debuginfo_read_enumerators(const struct die *die, struct type *type);

/* ---- debuginfo_names.c: named types ---- */

/* The definition of the struct, union or enum (`kind`) of that name. False if the file has none. */
bool debuginfo_find_definition(struct debuginfo *debug, enum type_kind kind, const char *name,
                               struct die *die);
/* Is the tag of a type that has fields or enumerators? `kind` receives TYPE_STRUCT/UNION/ENUM. */
bool debuginfo_is_tagged(unsigned tag, enum type_kind *kind);

/* Which scopes hold the named things of a file: units and, in C++ and Rust, namespaces. */
bool debuginfo_is_scope(unsigned tag);
void debuginfo_close_names(struct debuginfo *debug);

/* ---- debuginfo_variables.c ---- */

void debuginfo_close_variables(struct debuginfo *debug);

/* ---- the whole ---- */

struct name_entry {                       /* of a type */
    const char *name;
    struct unit *unit;
    const unsigned char *die;
    uint32_t next;                        /* index of the next of the same hash, or NO_ENTRY */
    uint16_t tag;
    bool is_declaration;
};

struct type_note {                        /* why a type node is there */
    const struct type *type;              /* NULL: being read */
    struct unit *unit;
    const unsigned char *die;             /* of a lazy one: where its definition is */
    const char *file;                     /* of a tagged one: where it is declared */
    int64_t size, line;
    bool is_declaration;
    struct type_note *same_name;          /* the next tagged one of this name and kind */
};

struct unit_range {
    uint64_t low, high, highest;          /* highest: of this range and all before it */
    struct unit *unit;
};

struct debuginfo {
    struct types *types;                  /* its owner */
    struct debug_file main, separate, alternate;
    char *source_directory;
    bool is_open;                         /* libdw was asked */
    Dwarf *dwarf, *alternate_dwarf;
    char failure[256];                    /* why libdw could not */
    struct map sections_by_dwarf, units_by_cu, abbreviation_tables, notes, tagged, unsupported;
    unsigned depth;
    bool has_units, has_ranges, has_names, has_type_list, has_enumerators, has_variables;
    bool has_variable_types;
    struct unit **units;
    size_t unit_count, unit_capacity;
    struct unit_range *ranges;            /* sorted by low */
    size_t range_count, range_capacity;
    struct name_entry *names;
    size_t name_count, name_capacity;
    struct map name_chains;               /* hash of a name to the first of its entries */
    const struct name_entry **type_list;  /* one per named type, sorted by name */
    size_t type_count, type_capacity;
    struct map enumerators;               /* hash of a name to struct named_value */
    struct debug_variable *variables;     /* sorted by name; type NULL: not read yet */
    struct variable_source *variable_sources;   /* in the same order */
    size_t variable_count;
};

static inline const struct debug_file *debuginfo_file(const struct debuginfo *debug)
{
    return debug->separate.elf ? &debug->separate : &debug->main;
}

#endif
