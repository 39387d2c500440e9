--- The reference that spec/property_spec.lua compares hotlua with: what the three-way merge makes of a value,
--- and what it says about it. Written from docs/reference.md, for plain Lua values and the types of
--- generate.lua; slow and simple on purpose.
local M = {}

M.lists = { "kept", "converted", "reset", "conflicts", "repointed", "held" }

local listed_most <const> = 100 -- paths of a variable in one list

-- Types ---------------------------------------------------------------------------------------------

local function is_whole(type)
  return type.kind == "enum" or type.kind == "number" and type.class == "int"
end

local function is_number(type)
  return type.kind == "enum" or type.kind == "number"
end

--- @return boolean signed, integer bits
function M.range(type, bits)
  if type.kind == "number" then return type.signed, bits or type.size * 8 end
  for _, item in ipairs(type.list) do
    if item.value < 0 then return true, bits or 32 end
  end
  return false, bits or 32
end

local function find_name(enum, name)
  for _, item in ipairs(enum.list) do
    if item.name == name then return item end
  end
end

local function keeps_names(old, new)
  for _, item in ipairs(old.list) do
    local other = find_name(new, item.name)
    if not other or other.value ~= item.value then return false end
  end
  return true
end

local function find_field(fields, name)
  for _, field in ipairs(fields) do
    if field.name == name then return field end
  end
end

local same

local function same_number(old, new, old_bits, new_bits)
  if old_bits ~= new_bits then return false end
  if not (is_whole(old) and is_whole(new)) then return old.c ~= nil and old.c == new.c end
  if old.kind == "enum" and new.kind == "enum" and not keeps_names(old, new) then return false end
  local old_signed, old_size = M.range(old, old_bits)
  local new_signed, new_size = M.range(new, new_bits)
  return old_signed == new_signed and old_size == new_size and (old.size or 4) == (new.size or 4)
end

-- A union's bytes go over where each member of the old one has its like.
local function keeps_members(old, new)
  for _, field in ipairs(old.fields) do
    local other = find_field(new.fields, field.name)
    local is_there = other and other.type.kind == field.type.kind
    if not is_there or not same(field.type, other.type) then return false end
  end
  return true
end

local function union_size(union)
  local size = 0
  for _, field in ipairs(union.fields) do size = math.max(size, field.type.size) end
  return size
end

local function same_fields(old, new)
  if #old.fields ~= #new.fields then return false end
  for i, field in ipairs(old.fields) do
    local other = new.fields[i]
    if field.name ~= other.name then return false end
    if not same(field.type, other.type, field.bits, other.bits) then return false end
  end
  return true
end

--- Is the layout of both the same, so that nothing has to be converted?
function same(old, new, old_bits, new_bits)
  if is_number(old) and is_number(new) then return same_number(old, new, old_bits, new_bits) end
  if old.kind ~= new.kind then return false end
  if old.kind == "text" then return old.count == new.count end
  if old.kind == "array" then return old.count == new.count and same(old.of, new.of) end
  if old.kind == "struct" then return same_fields(old, new) end
  if old.kind == "union" then return keeps_members(old, new) and union_size(old) == union_size(new) end
  return old.to == new.to
end

M.same = same

-- Numbers -------------------------------------------------------------------------------------------

local function is_unsigned_64(type, bits)
  local signed, size = M.range(type, bits)
  return not signed and size == 64
end

local function fits(type, bits, is_negative, magnitude)
  local signed, size = M.range(type, bits)
  if is_negative then
    local most = 1 << (size - 1)
    return signed and (magnitude == most or math.ult(magnitude, most))
  end
  size = signed and size - 1 or size
  return size == 64 or math.ult(magnitude, 1 << size)
end

-- An integer is exact as a floating number if its one bits are near enough to each other.
local function is_exact(magnitude, digits)
  while magnitude ~= 0 and magnitude & 1 == 0 do magnitude = magnitude >> 1 end
  return magnitude >> digits == 0
end

local function integer_to_float(value, is_negative, magnitude, new)
  if not is_exact(magnitude, new.size == 4 and 24 or 53) then return "unfit" end
  if is_negative or magnitude >= 0 then return "done", value + 0.0 end
  return "done", (magnitude >> 11) * 2048.0 + (magnitude & 2047)
end

local function from_integer(old, new, value, new_bits, old_bits)
  local is_negative = value < 0 and not is_unsigned_64(old, old_bits)
  local magnitude = is_negative and -value or value
  if new.class == "bool" then return "done", value ~= 0 end
  if new.class == "float" then return integer_to_float(value, is_negative, magnitude, new) end
  if fits(new, new_bits, is_negative, magnitude) then return "done", value end
  return "unfit"
end

local function from_float(new, value, bits)
  if new.class == "bool" then return "done", value ~= 0 end
  if new.class == "float" then
    if new.size == 8 then return "done", value end
    local rounded = string.unpack("f", string.pack("f", value))
    if rounded - rounded ~= 0 then return "unfit" end
    return "done", rounded
  end
  if value ~= math.floor(value) or value < -0x1p63 or value >= 0x1p64 then return "unfit" end
  if value >= 0x1p63 then
    if not is_unsigned_64(new, bits) then return "unfit" end
    return "done", math.tointeger(value - 0x1p64)
  end
  local integer = math.tointeger(value)
  local is_negative = integer < 0
  if fits(new, bits, is_negative, is_negative and -integer or integer) then return "done", integer end
  return "unfit"
end

-- By name; what has no name may be flags, each of which has one.
local function rename(old, new, value)
  local is_renumbered, rest, mapped = false, value, 0
  for _, item in ipairs(old.list) do
    local other = find_name(new, item.name)
    if item.value == value then return other and "done" or "lost", other and other.value end
    is_renumbered = is_renumbered or other and other.value ~= item.value
  end
  if not is_renumbered then return "done", value end
  for _, item in ipairs(old.list) do
    local other = find_name(new, item.name)
    local is_flag = item.value > 0 and item.value & (item.value - 1) == 0
    if is_flag and rest & item.value ~= 0 then
      if not other then return "lost" end
      rest, mapped = rest & ~item.value, mapped | other.value
    end
  end
  if rest ~= 0 then return "lost" end
  return "done", mapped
end

local function convert_number(old, new, value, old_bits, new_bits)
  if old.kind == "enum" and new.kind == "enum" and not keeps_names(old, new) then
    local result
    result, value = rename(old, new, value)
    if result == "lost" then return result end
  end
  if old.class == "float" then return from_float(new, value, new_bits) end
  if old.class == "bool" then
    if new.class == "bool" then return "done", value end
    return from_integer(old, new, value and 1 or 0, new_bits, old_bits)
  end
  return from_integer(old, new, value, new_bits, old_bits)
end

-- Other leaves --------------------------------------------------------------------------------------

-- Where a NUL ended it, one ends it again. The third result: something was cut off.
local function convert_text(old, new, value)
  local room = #value < old.count and new.count - 1 or new.count
  if new.count > old.count then room = new.count end
  return "done", value:sub(1, room), #value > room
end

--- One leaf: "done" and the new value, "lost" or "unfit".
function M.convert(old, new, value, old_bits, new_bits)
  if is_number(old) and is_number(new) then return convert_number(old, new, value, old_bits, new_bits) end
  if old.kind ~= new.kind then return "lost" end
  if old.kind == "text" then return convert_text(old, new, value) end
  if old.kind == "union" then
    if keeps_members(old, new) then return "done", value end
    return "lost"
  end
  if old.to ~= new.to then return "lost" end
  return "done", value
end

--- Do both values have the same bytes?
function M.equal(a, b)
  if type(a) == "table" then
    for key, value in pairs(a) do
      if not M.equal(value, b[key]) then return false end
    end
    return true
  end
  local are_floats = math.type(a) == "float" and math.type(b) == "float"
  return are_floats and string.pack("d", a) == string.pack("d", b) or not are_floats and a == b
end

-- Structs -------------------------------------------------------------------------------------------

local function holders_of(fields, taken, name)
  local found
  for _, holder in ipairs(fields) do
    if not taken[holder] and holder.type.kind == "struct" and find_field(holder.type.fields, name) then
      if found then return nil end
      found = holder
    end
  end
  return found
end

-- The fields of `flat` that are part of a struct in `nested`.
local function regroup(flat, nested, taken, add)
  for _, field in ipairs(flat) do
    local holder = not taken[field] and holders_of(nested, taken, field.name)
    if holder then
      taken[field] = true
      add(field, holder, find_field(holder.type.fields, field.name))
    end
  end
end

--- How fields belong together: a list of { path, old, new } with { field, holder } on either side, nil where
--- there is none.
function M.pair_fields(old, new)
  local list, taken, used_parts = {}, {}, {}
  local function use(holder, part)
    used_parts[holder] = used_parts[holder] or {}
    used_parts[holder][part] = true
  end
  for _, field in ipairs(new.fields) do
    local match = find_field(old.fields, field.name)
    if match then
      taken[match], taken[field] = true, true
      list[#list + 1] = { path = "." .. field.name, old = { field = match }, new = { field = field } }
    end
  end
  regroup(old.fields, new.fields, taken, function(field, holder, part)
    use(holder, part)
    list[#list + 1] = { path = "." .. field.name, old = { field = field },
      new = { field = part, holder = holder } }
  end)
  regroup(new.fields, old.fields, taken, function(field, holder, part)
    use(holder, part)
    list[#list + 1] = { path = "." .. holder.name .. "." .. part.name, new = { field = field },
      old = { field = part, holder = holder } }
  end)
  local function add_gone(field, holder)
    local path = (holder and "." .. holder.name or "") .. "." .. field.name
    list[#list + 1] = { path = path, old = { field = field, holder = holder } }
  end
  for _, field in ipairs(old.fields) do
    local used = used_parts[field]
    if not taken[field] and not used then add_gone(field) end
    for _, part in ipairs(used and field.type.fields or {}) do
      if not used[part] then add_gone(part, field) end
    end
  end
  return list
end

-- The merge -----------------------------------------------------------------------------------------

local merge

local function add(out, list, path)
  local name, counts = path:match "^[^.%[]+", out.counts[list]
  counts[name] = (counts[name] or 0) + 1
  if counts[name] <= listed_most then out[list][path] = true end
end

-- Where a value stands, so that it may be changed: place.table[place.key].
local function place_in(container, holder, name)
  if holder then container = container[holder.name] end
  return { table = container, key = name }
end

local function get(place)
  return place.table[place.key]
end

local function report_pointer(out, world, path, value, is_touched)
  if value and not world.new[value] then
    add(out, "held", path)
  elseif value and is_touched then
    add(out, "repointed", path)
  end
end

-- On the way back the leaf may also have been touched before: `first` is what it was in the beginning.
local function merge_leaf(out, world, old, new, v, path, bits)
  local base, ours = get(v.base), get(v.ours)
  local was_touched = v.first and not M.equal(get(v.first), get(v.theirs))
  local is_touched = not M.equal(base, ours)
  if not (is_touched or was_touched or world.takes_all) then return end
  out.is_touched = true
  local result, value, is_cut = M.convert(old, new, ours, bits.old, bits.new)
  if result == "unfit" then out.unfit[#out.unfit + 1] = { path = path, place = v.ours, base = base } end
  if is_touched and (result == "lost" or is_cut) then add(out, "reset", path) end
  if result ~= "done" then return end
  if old.kind == "pointer" then report_pointer(out, world, path, ours, is_touched) end
  local base_result, initial = M.convert(old, new, base, bits.old, bits.new)
  if old.kind == "pointer" and initial and not world.new[initial] then base_result = "lost" end
  local theirs = get(v.theirs)
  local is_new = base_result ~= "done" or not M.equal(initial, theirs)
  local has_conflicts = not v.first and not world.takes_all
  if has_conflicts and is_new and not M.equal(value, theirs) then add(out, "conflicts", path) end
  v.theirs.table[v.theirs.key] = value
end

local function merge_gone(out, v, path)
  if M.equal(get(v.base), get(v.ours)) then return end
  out.is_touched = true
  add(out, "reset", path)
end

local function merge_struct(out, world, old, new, v, path)
  for _, pair in ipairs(M.pair_fields(old, new)) do
    local from, to = pair.old, pair.new
    local inner = {
      base = place_in(get(v.base), from.holder, from.field.name),
      ours = place_in(get(v.ours), from.holder, from.field.name),
      theirs = to and place_in(get(v.theirs), to.holder, to.field.name),
      first = to and v.first and place_in(get(v.first), to.holder, to.field.name),
    }
    if not to then
      merge_gone(out, inner, path .. pair.path)
    else
      merge(out, world, from.field.type, to.field.type, inner, path .. pair.path,
        { old = from.field.bits, new = to.field.bits })
    end
  end
end

local function merge_array(out, world, old, new, v, path)
  for i = 1, old.count do
    local inner = {}
    for side, place in pairs(v) do inner[side] = { table = get(place), key = i } end
    local element = ("%s[%d]"):format(path, i - 1)
    if i > new.count then
      merge_gone(out, inner, element)
    else
      merge(out, world, old.of, new.of, inner, element, {})
    end
  end
end

function merge(out, world, old, new, v, path, bits)
  if old.kind == "struct" and new.kind == "struct" then
    merge_struct(out, world, old, new, v, path)
  elseif old.kind == "array" and new.kind == "array" then
    merge_array(out, world, old, new, v, path)
  else
    merge_leaf(out, world, old, new, v, path, bits)
  end
end

local function is_aggregate(type)
  return type.kind == "struct" or type.kind == "array"
end

-- Nothing of the variable can go over, whatever it holds.
local function is_lost(old, new)
  if is_number(old) and is_number(new) or is_aggregate(old) and old.kind == new.kind then return false end
  if old.kind == "text" and new.kind == "text" then return false end
  return M.convert(old, new, nil) == "lost"
end

local function initial_is_same(old, new, base, theirs, world)
  if old.kind == "struct" then
    for i, field in ipairs(old.fields) do
      local inner, other = base[field.name], theirs[field.name]
      if not initial_is_same(field.type, new.fields[i].type, inner, other, world) then return false end
    end
    return true
  end
  if old.kind == "array" then
    for i = 1, old.count do
      if not initial_is_same(old.of, new.of, base[i], theirs[i], world) then return false end
    end
    return true
  end
  if old.kind == "pointer" and base and not world.new[base] then return false end
  return M.equal(base, theirs)
end

--- What a run of the carry finds: sets of paths (M.lists) and a list, `unfit`.
function M.new_findings()
  local out = { unfit = {}, counts = {} }
  for _, list in ipairs(M.lists) do out[list], out.counts[list] = {}, {} end
  return out
end

--- Carries one variable: `variable` has old and new types, and the values base, ours and theirs; theirs
--- becomes the result.
--- @param out table of M.new_findings
--- @param world table `new`: set of the pointers' targets that the new image has; `takes_all`: carry = "all"
function M.carry(out, world, variable)
  local name, old, new = variable.name, variable.old, variable.new
  if not new or is_lost(old, new) then
    out.reset[name] = true
    return
  end
  local theirs, base = variable.theirs, variable.base
  local was_same = same(old, new) and initial_is_same(old, new, base, theirs, world)
  local v = {}
  for _, side in ipairs { "base", "ours", "theirs" } do v[side] = { table = variable, key = side } end
  out.is_touched = false
  merge(out, world, old, new, v, name, {})
  if out.reset[name] then return end
  if not same(old, new) then
    out.converted[name] = true
  elseif out.is_touched or was_same or world.takes_all then
    out.kept[name] = true
  end
end

--- Carries one variable back by a rollback: `variable` has the types `from` and `to`, what it holds now and
--- what the code gave it (`now`, `now_base`), and the same of when the other image was replaced (`before`,
--- `before_base`). `before` becomes the result.
function M.carry_back(out, world, variable)
  if not variable.from or is_lost(variable.from, variable.to) then return end
  local v = {}
  for side, key in pairs { base = "now_base", ours = "now", theirs = "before", first = "before_base" } do
    v[side] = { table = variable, key = key }
  end
  merge(out, world, variable.from, variable.to, v, variable.name, {})
end

--- What the lists say of those paths that were too many.
function M.end_findings(out)
  for list, counts in pairs(out.counts) do
    for name, count in pairs(counts) do
      if count > listed_most then out[list][("%s (%d more)"):format(name, count - listed_most)] = true end
    end
  end
end

return M
