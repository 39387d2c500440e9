/* cdecl_layout.c: where the compilers of System V x86-64 and AAPCS64 put the members of a struct
 * or union, bit-fields, packed and aligned ones included. Knows nothing of text. */
#include "cdecl_internal.h"

#include <string.h>

static const uint64_t MAX_BITS = (uint64_t)1 << 62;

struct layout {
    uint64_t position;       /* bits used so far; of a union: of the longest member */
    uint64_t align;          /* bytes, of the whole */
    bool is_union, is_packed, is_too_large;
};

static void raise_align(struct layout *layout, uint64_t align)
{
    if (align > layout->align)
        layout->align = align;
}

static uint64_t round_up(uint64_t number, uint64_t multiple)
{
    return (number + multiple - 1) / multiple * multiple;
}

/* Does an unnamed bit-field give its type's alignment to the struct? It does on AArch64. */
static bool unnamed_bits_align(void)
{
#ifdef __aarch64__
    return true;
#else
    return false;
#endif
}

/* A bit-field lies within one unit of its type, unless it is packed; one of no width only moves
 * the next member to such a unit. */
static uint64_t place_bits(struct layout *layout, const struct member *member, uint64_t start)
{
    uint64_t given = member->attributes.align, type_align = member->type->align;
    uint64_t unit = member->type->size * 8;
    bool is_packed = layout->is_packed || member->attributes.is_packed;
    if (member->bit_size == 0) {
        if (unnamed_bits_align())
            raise_align(layout, type_align);
        return round_up(start, (given > type_align ? given : type_align) * 8);
    }
    if (given)
        start = round_up(start, given * 8);
    if (!is_packed && start / unit != (start + member->bit_size - 1) / unit)
        start = round_up(start, type_align * 8);
    if (member->name || unnamed_bits_align())
        raise_align(layout, is_packed ? 1 : type_align);
    raise_align(layout, given);
    return start;
}

static uint64_t place_whole(struct layout *layout, const struct member *member, uint64_t start)
{
    uint64_t given = member->attributes.align, align = member->type->align;
    if (layout->is_packed || member->attributes.is_packed)
        align = 1;
    if (given > align)
        align = given;
    raise_align(layout, align);
    return round_up(start, align * 8);
}

static void place_member(struct layout *layout, struct member *member)
{
    uint64_t start = layout->is_union ? 0 : layout->position;
    uint64_t size = member->is_bit_field ? member->bit_size : member->type->size * 8;
    if (!member->is_bit_field && member->type->size > MAX_BITS / 8)
        layout->is_too_large = true;
    if (layout->is_too_large)
        return;
    member->position = member->is_bit_field ? place_bits(layout, member, start)
                                            : place_whole(layout, member, start);
    uint64_t end = member->position + size;
    if (end > layout->position)
        layout->position = end;
    layout->is_too_large = end > MAX_BITS;
}

/* ---- Bit-fields as the model of types has them: a storage unit and bits in it ---- */

static const struct type *with_size(struct types *table, const struct type *type, uint64_t size)
{
    if (type->size == size)
        return type;
    struct type *copy = types_add(table, type->kind);
    *copy = *type->plain;
    copy->plain = copy;
    copy->size = size;
    copy->align = 1;
    return copy;
}

/* May the unit of `size` bytes at `offset` be the field's: in the struct, and all bits in it? */
static bool is_unit(const struct member *member, uint64_t offset, uint64_t size, uint64_t limit)
{
    return offset + size <= limit && offset * 8 <= member->position &&
           member->position + member->bit_size <= (offset + size) * 8;
}

/* The declared type's unit, aligned, where that can be; else one that is not aligned, or smaller,
 * or ends with the struct. The debug info's reader chooses in the same order. */
static void choose_unit(struct types *table, struct field *field, const struct member *member,
                        uint64_t limit)
{
    uint64_t declared = member->type->size, byte = member->position / 8, offset = byte, size;
    for (size = declared; size > 0; size /= 2) {
        offset = byte / size * size;
        if (member->position + member->bit_size > (offset + size) * 8)
            offset = byte;
        if (is_unit(member, offset, size, limit))
            break;
    }
    if (size == 0)
        for (size = declared; size > 0; size /= 2) {
            offset = limit - size;
            if (size <= limit && is_unit(member, offset, size, limit))
                break;
        }
    if (size == 0) {
        struct type *type = types_add(table, TYPE_UNSUPPORTED);
        type->reason = "a bit-field that no storage unit holds";
        field->type = type;
        return;
    }
    field->type = with_size(table, member->type, size);
    field->offset = offset;
    field->bit_offset = (uint16_t)(member->position - offset * 8);
    field->bit_size = (uint16_t)member->bit_size;
}

static void fill_fields(struct types *table, struct type *type, const struct member *members,
                        size_t count)
{
    struct field *fields = types_allocate(table, (count + 1) * sizeof *fields);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const struct member *member = &members[i];
        if (member->is_bit_field && !member->name)
            continue;                         /* padding */
        struct field *field = &fields[used++];
        field->name = member->name;
        if (member->is_bit_field) {
            choose_unit(table, field, member, type->size);
        } else {
            field->type = member->type;
            field->offset = member->position / 8;
        }
    }
    type->fields = fields;
    type->count = used;
}

bool layout_fill(struct types *table, struct type *type, struct member *members, size_t count,
                 const struct attributes *attributes)
{
    struct layout layout = {.align = 1, .is_union = type->kind == TYPE_UNION};
    layout.is_packed = attributes->is_packed;
    for (size_t i = 0; i < count; i++)
        place_member(&layout, &members[i]);
    if (layout.is_too_large)
        return false;
    raise_align(&layout, attributes->align);
    type->align = (uint32_t)layout.align;
    type->size = round_up(round_up(layout.position, 8) / 8, layout.align);
    fill_fields(table, type, members, count);
    type->is_incomplete = false;
    return true;
}
