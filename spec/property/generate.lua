--- Random variables for spec/property_spec.lua: their types in two versions, their initial values in both and
--- the one while the program runs; and all of it as C.
local model = require "model"

local M = {}

local random = math.random

local function chance(percent)
  return random(100) <= percent
end

local function one_of(list)
  return list[random(#list)]
end

-- Types ---------------------------------------------------------------------------------------------

local numbers = {
  { c = "signed char", size = 1, class = "int", signed = true },
  { c = "unsigned char", size = 1, class = "int", signed = false },
  { c = "short", size = 2, class = "int", signed = true },
  { c = "unsigned short", size = 2, class = "int", signed = false },
  { c = "int", size = 4, class = "int", signed = true },
  { c = "unsigned int", size = 4, class = "int", signed = false },
  { c = "long", size = 8, class = "int", signed = true },
  { c = "unsigned long", size = 8, class = "int", signed = false },
  { c = "float", size = 4, class = "float" },
  { c = "double", size = 8, class = "float" },
  { c = "_Bool", size = 1, class = "bool" },
}
for _, number in ipairs(numbers) do number.kind = "number" end

local names = 0 -- given so far: every field and type has a name of its own

local function new_name(letter)
  names = names + 1
  return letter .. names
end

--- Begin names anew, so that each file is made of its seed alone.
function M.restart()
  names = 0
end

local random_type

local function random_enum()
  local list, tag, value = {}, new_name "e", random(0, 2)
  for i = 1, random(1, 6) do
    list[i] = { name = new_name "E", value = value }
    value = chance(25) and value * 2 + 1 or value + random(3)
  end
  if chance(10) then list[1].value = -random(100) end
  return { kind = "enum", tag = tag, list = list }
end

local function random_field(depth)
  local field = { name = new_name "m", type = random_type(depth) }
  local is_integer = field.type.kind == "number" and field.type.class == "int"
  if is_integer and chance(25) then field.bits = random(1, field.type.size * 8) end
  if field.type.kind == "enum" and chance(25) then field.bits = random(20, 32) end
  return field
end

-- Its fields up to the one numbered `anonymous` are in a struct without a name.
local function random_struct(depth)
  local fields = {}
  for i = 1, random(1, 6) do fields[i] = random_field(depth + 1) end
  return { kind = "struct", tag = new_name "s", fields = fields, anonymous = chance(15) and random(#fields) }
end

local function random_union()
  local fields = {}
  for i = 1, random(1, 3) do fields[i] = { name = new_name "u", type = one_of(numbers) } end
  return { kind = "union", tag = new_name "n", fields = fields }
end

local function random_array(depth)
  local of = random_type(depth + 1)
  local may_be_large = of.kind == "number" and depth == 0
  local count = chance(20) and random(9, 40) or random(1, 6)
  if may_be_large and chance(6) then count = random(200, 3000) end
  return { kind = "array", count = count, of = of }
end

function random_type(depth)
  local dice = random(100)
  if dice <= 40 or depth > 2 and dice > 75 then return one_of(numbers) end
  if dice <= 52 then return random_enum() end
  if dice <= 62 then return { kind = "text", count = chance(5) and random(8000, 20000) or random(1, 20) } end
  if dice <= 75 then return { kind = "pointer", to = one_of { "function", "number", "string" } } end
  if dice <= 83 then return random_array(depth) end
  if dice <= 95 then return random_struct(depth) end
  return random_union()
end

-- The next version ----------------------------------------------------------------------------------

local mutate

local function copy(list)
  return table.move(list, 1, #list, 1, {})
end

local function shuffle(list)
  for i = #list, 2, -1 do
    local j = random(i)
    list[i], list[j] = list[j], list[i]
  end
end

local function mutate_enum(enum)
  local list = {}
  for i, item in ipairs(enum.list) do list[i] = { name = item.name, value = item.value } end
  if chance(30) and #list > 1 then table.remove(list, random(#list)) end
  if chance(40) then list[#list + 1] = { name = new_name "E", value = list[#list].value + random(3) } end
  if chance(50) then
    local value = random(0, 3)
    shuffle(list)
    for _, item in ipairs(list) do item.value, value = value, value + random(3) end
  end
  return { kind = "enum", tag = enum.tag, list = list }
end

-- Bit-fields have to be of integers, and no wider than those.
local function mutate_field(field, depth)
  local new = { name = field.name, type = mutate(field.type, depth + 1), bits = field.bits }
  local is_integer = new.type.kind == "number" and new.type.class == "int"
  if new.type.kind == "enum" then
    new.bits = new.bits and math.max(new.bits, 20)
  elseif not is_integer then
    new.bits = nil
  elseif chance(20) then
    new.bits = chance(70) and random(new.type.size * 8) or nil
  end
  if new.bits then new.bits = math.min(new.bits, (new.type.size or 4) * 8) end
  return new
end

-- Some fields into a struct of their own, or those of one to its outside.
local function regroup(fields)
  local at = random(#fields)
  local field = fields[at]
  if field.type.kind == "struct" and chance(60) then
    table.remove(fields, at)
    for _, part in ipairs(field.type.fields) do
      if chance(85) then fields[#fields + 1] = part end
    end
    return
  end
  local parts = { chance(50) and random_field(2) or nil }
  for _ = 1, random(math.min(3, #fields)) do
    parts[#parts + 1] = table.remove(fields, random(#fields))
  end
  local group = { kind = "struct", tag = new_name "s", fields = parts }
  fields[#fields + 1] = { name = new_name "m", type = group }
end

local function mutate_struct(struct, depth)
  local fields = {}
  for _, field in ipairs(struct.fields) do
    if not chance(12) then fields[#fields + 1] = mutate_field(field, depth) end
  end
  if chance(40) then table.insert(fields, random(#fields + 1), random_field(depth + 1)) end
  if chance(30) then shuffle(fields) end
  if #fields > 0 and chance(20) then regroup(fields) end
  local has_anonymous = chance(15)
  -- A further field: the model does not know whether an anonymous struct alone moves anything.
  if #fields == 0 or has_anonymous or struct.anonymous then fields[#fields + 1] = random_field(depth + 1) end
  return { kind = "struct", tag = struct.tag, fields = fields, anonymous = has_anonymous and random(#fields) }
end

local function mutate_union(union)
  local fields = copy(union.fields)
  shuffle(fields)
  if chance(30) then fields[#fields + 1] = { name = new_name "u", type = one_of(numbers) } end
  if chance(20) then fields[1] = { name = fields[1].name, type = one_of(numbers) } end
  return { kind = "union", tag = union.tag, fields = fields }
end

local function other_count(count)
  local dice = random(100)
  if dice <= 50 then return count end
  return dice <= 75 and count + random(count) or random(count)
end

local changes = {
  number = function() return one_of(numbers) end,
  enum = mutate_enum,
  text = function(type) return { kind = "text", count = other_count(type.count) } end,
  pointer = function(type) return type end,
  array = function(type, depth)
    return { kind = "array", count = other_count(type.count), of = mutate(type.of, depth + 1) }
  end,
  struct = mutate_struct,
  union = mutate_union,
}

-- A text is an array too, and any pointer may become any other: what that means is not the model's concern.
local function may_become(old, new)
  local is_array = old.kind == "text" or old.kind == "array"
  return old.kind ~= new.kind and not (is_array and (new.kind == "text" or new.kind == "array"))
end

function mutate(type, depth)
  if chance(35) then return type end
  local other = chance(3) and random_type(depth)
  if other and may_become(type, other) then return other end
  if type.kind == "number" and type.class == "int" and chance(5) then return random_enum() end
  if type.kind == "enum" and chance(5) then return numbers[random(8)] end
  return changes[type.kind](type, depth)
end

-- Values --------------------------------------------------------------------------------------------

local function random_integer(type, bits)
  local signed, size = model.range(type, bits)
  local dice = random(100)
  if dice > 90 then
    local value = random(0) >> (64 - size)
    local is_negative = signed and value >> (size - 1) & 1 == 1
    return is_negative and size < 64 and value - (1 << size) or value
  end
  if dice > 80 then return signed and -(1 << (size - 1)) or size == 64 and -1 or (1 << size) - 1 end
  local value = random(0, dice > 60 and 100 or 3) & ((1 << (size - (signed and 1 or 0))) - 1)
  return signed and chance(30) and -value or value
end

local function random_number(type, bits)
  if type.class == "bool" then return chance(50) end
  if type.class == "int" then return random_integer(type, bits) end
  local value = random(-100, 100) + (chance(70) and 0.0 or random(0, 3) / 4)
  if chance(5) then value = one_of { -0.0, 1e300, 1e-300, 0.1, 2.0 ^ 31, -2.0 ^ 63, 2.0 ^ 64 } end
  if type.size == 8 then return value end
  value = string.unpack("f", string.pack("f", value))
  return value - value == 0 and value or 1.0
end

local function random_enumerator(type)
  if chance(90) then return one_of(type.list).value end
  local value = one_of(type.list).value | one_of(type.list).value
  return chance(50) and value >= 0 and value or random(0, 40)
end

local function random_text(count)
  local letters = {}
  for i = 1, chance(10) and count or random(0, count) do letters[i] = string.char(random(97, 122)) end
  return table.concat(letters)
end

local random_value

local function random_elements(type, world)
  local list, zero = {}, type.count > 100 and random_value(type.of, world)
  for i = 1, type.count do
    if not zero or chance(2) then list[i] = random_value(type.of, world) else list[i] = zero end
  end
  return list
end

--- A value of the type. `world` is what pointers may lead to, by the kind of pointer.
function random_value(type, world, bits)
  if type.kind == "number" then return random_number(type, bits) end
  if type.kind == "enum" then return random_enumerator(type) end
  if type.kind == "text" then return random_text(type.count) end
  if type.kind == "pointer" then return not chance(20) and one_of(world[type.to]) end
  if type.kind == "array" then return random_elements(type, world) end
  local value = {}
  if type.kind == "union" then
    value[type.fields[1].name] = random_value(type.fields[1].type, world)
    return value
  end
  for _, field in ipairs(type.fields) do value[field.name] = random_value(field.type, world, field.bits) end
  return value
end

-- The value with some of its leaves changed.
local function touch(type, value, world, bits)
  if type.kind == "struct" then
    local result = {}
    for _, field in ipairs(type.fields) do
      result[field.name] = touch(field.type, value[field.name], world, field.bits)
    end
    return result
  end
  if type.kind == "array" then
    local result = {}
    for i = 1, type.count do
      result[i] = (type.count < 100 or chance(4)) and touch(type.of, value[i], world) or value[i]
    end
    return result
  end
  return chance(40) and random_value(type, world, bits) or value
end

local function get(container, side)
  return (side.holder and container[side.holder.name] or container)[side.field.name]
end

-- The new initial value: mostly what the old one becomes. Writes into `theirs`, returns it or another.
local function follow(old, new, base, theirs, world, bits)
  if old.kind == "struct" and new.kind == "struct" then
    for _, pair in ipairs(model.pair_fields(old, new)) do
      local to = pair.new
      if to then
        local container = to.holder and theirs[to.holder.name] or theirs
        container[to.field.name] = follow(pair.old.field.type, to.field.type, get(base, pair.old),
          get(theirs, to), world, { old = pair.old.field.bits, new = to.field.bits })
      end
    end
    return theirs
  end
  if old.kind == "array" and new.kind == "array" then
    for i = 1, math.min(old.count, new.count) do
      theirs[i] = follow(old.of, new.of, base[i], theirs[i], world, {})
    end
    return theirs
  end
  local result, value = model.convert(old, new, base, bits.old, bits.new)
  local is_there = old.kind ~= "pointer" or not value or world.has[value]
  if result == "done" and is_there and chance(70) then return value end
  return theirs
end

local function clone(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, inner in pairs(value) do result[key] = clone(inner) end
  return result
end

-- Of a union one member is used in both versions, so that a value can be told by it.
local function use_one_member(old, new)
  if old.kind == "struct" and new.kind == "struct" then
    for _, pair in ipairs(model.pair_fields(old, new)) do
      if pair.new then use_one_member(pair.old.field.type, pair.new.field.type) end
    end
  elseif old.kind == "array" and new.kind == "array" then
    use_one_member(old.of, new.of)
  elseif old.kind == "union" and new.kind == "union" then
    for i, field in ipairs(new.fields) do
      if field.name == old.fields[1].name then table.insert(new.fields, 1, table.remove(new.fields, i)) end
    end
  end
end

--- @param name string
--- @param world table { old, new }, each { pointer kind = list of targets }
--- @return table { name, old, new, base, ours, theirs }; new and theirs are nil when the variable is gone
function M.variable(name, world)
  local variable = { name = name, old = random_type(0) }
  variable.base = random_value(variable.old, world.old)
  variable.ours = clone(chance(25) and variable.base or touch(variable.old, variable.base, world.old))
  if chance(2) then return variable end
  variable.new = mutate(variable.old, 0)
  use_one_member(variable.old, variable.new)
  local theirs = clone(random_value(variable.new, world.new))
  variable.theirs = follow(variable.old, variable.new, variable.base, theirs, world.new, {})
  return variable
end

--- The merged value with some of its leaves changed, as the new version might.
function M.change_more(variable, world)
  if not variable.new or chance(50) then return variable.merged end
  return clone(touch(variable.new, variable.merged, world))
end

-- C -------------------------------------------------------------------------------------------------

local function declare(type, name)
  if type.kind == "number" then return type.c .. " " .. name end
  if type.kind == "text" then return ("char %s[%d]"):format(name, type.count) end
  if type.kind == "array" then return declare(type.of, ("%s[%d]"):format(name, type.count)) end
  if type.kind == "pointer" then
    local formats = { ["function"] = "int (*%s)(int)", number = "int *%s", string = "const char *%s" }
    return formats[type.to]:format(name)
  end
  return ("%s %s %s"):format(type.kind, type.tag, name)
end

local function define(type, lines)
  if type.kind == "array" then define(type.of, lines) end
  if type.kind == "enum" then
    local items = {}
    for i, item in ipairs(type.list) do items[i] = ("%s = %d"):format(item.name, item.value) end
    lines[#lines + 1] = ("enum %s { %s };"):format(type.tag, table.concat(items, ", "))
  elseif type.fields then
    local fields = {}
    for i, field in ipairs(type.fields) do
      define(field.type, lines)
      fields[i] = declare(field.type, field.name) .. (field.bits and " : " .. field.bits or "") .. ";"
    end
    if type.anonymous then
      fields[1] = "struct { " .. fields[1]
      fields[type.anonymous] = fields[type.anonymous] .. " };"
    end
    lines[#lines + 1] = ("%s %s { %s };"):format(type.kind, type.tag, table.concat(fields, " "))
  end
end

local function spell_number(type, value)
  if value == true or value == false then return value and "1" or "0" end
  if type.class == "float" then return ("%a"):format(value) end
  if type.kind == "enum" then return ("(enum %s)%d"):format(type.tag, value) end
  return ("(%s)0x%xul"):format(type.c, value)
end

local function spell(type, value)
  if type.kind == "number" or type.kind == "enum" then return spell_number(type, value) end
  if type.kind == "text" then return ('"%s"'):format(value) end
  if type.kind == "pointer" then return value or "0" end
  local parts = {}
  if type.kind == "array" then
    for i = 1, type.count do parts[i] = spell(type.of, value[i]) end
  end
  for i, field in ipairs(type.fields or {}) do
    local inner = value[field.name]
    if inner ~= nil then parts[i] = (".%s = "):format(field.name) .. spell(field.type, inner) end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

-- Statements that turn a value into another, leaf by leaf.
local function assign(lines, type, place, before, after)
  if model.equal(before, after) then return end
  if type.kind == "array" then
    for i = 1, type.count do assign(lines, type.of, ("%s[%d]"):format(place, i - 1), before[i], after[i]) end
  elseif type.fields then
    for _, field in ipairs(type.fields) do
      if after[field.name] ~= nil then
        assign(lines, field.type, place .. "." .. field.name, before[field.name], after[field.name])
      end
    end
  elseif type.kind == "text" then
    lines[#lines + 1] = ('  strncpy(%s, "%s", %d);'):format(place, after, type.count)
  else
    lines[#lines + 1] = ("  %s = %s;"):format(place, spell(type, after))
  end
end

local function each_pointer(type, place, visit)
  if type.kind == "pointer" then visit(type, place) end
  if type.kind == "array" then
    for i = 0, type.count - 1 do each_pointer(type.of, ("%s[%d]"):format(place, i), visit) end
  end
  for _, field in ipairs(type.kind == "struct" and type.fields or {}) do
    each_pointer(field.type, place .. "." .. field.name, visit)
  end
end

-- A function that gives what a pointer leads to, by the pointer's place.
local function add_pointers(lines, variables, type_key, targets)
  local cases = {}
  for _, variable in ipairs(variables) do
    if variable[type_key] then
      each_pointer(variable[type_key], variable.name, function(type, place)
        cases[#cases + 1] = ('  if (!strcmp(place, "%s")) return %s((const void *)%s);'):format(place,
          type.to == "string" and "" or "name_of", place)
      end)
    end
  end
  lines[#lines + 1] = "static const char *name_of(const void *p) {"
  for _, target in ipairs(targets) do
    lines[#lines + 1] = ('  if (p == (const void *)(%s)) return "%s";'):format(target, target)
  end
  lines[#lines + 1] = '  return p ? "another" : 0;\n}\nconst char *pointer(const char *place) {'
  lines[#lines + 1] = table.concat(cases, "\n")
  lines[#lines + 1] = '  return "no such place";\n}'
end

--- Both versions of the variable in C, for messages.
function M.describe(variable)
  local lines = {}
  for _, side in ipairs { { "old", "base" }, { "old", "ours" }, { "new", "theirs" } } do
    local type = variable[side[1]]
    if type then
      if side[2] ~= "ours" then define(type, lines) end
      local text = declare(type, variable.name) .. " = " .. spell(type, variable[side[2]])
      lines[#lines + 1] = ("%s: %s;"):format(side[2], text)
    end
  end
  for i, line in ipairs(lines) do lines[i] = "      " .. line:sub(1, 300) end
  return table.concat(lines, "\n")
end

--- C of one version.
--- @param variables table[]
--- @param version "old"|"new"
--- @param world table: `text` in C, `targets` to tell
--- @return string
function M.source(variables, version, world)
  local value_key = version == "old" and "base" or "theirs"
  local lines = { "#include <string.h>", world.text }
  for _, variable in ipairs(variables) do
    if variable[version] then
      define(variable[version], lines)
      lines[#lines + 1] = ("%s%s = %s;"):format(chance(30) and "static __attribute__((used)) " or "",
        declare(variable[version], variable.name), spell(variable[version], variable[value_key]))
    end
  end
  add_pointers(lines, variables, version, world.targets)
  return table.concat(lines, "\n") .. "\n"
end

--- A C function that changes the variables from their values of one side to those of another.
function M.changer(name, variables, type_key, before, after)
  local lines = { ("void %s(void) {"):format(name) }
  for _, variable in ipairs(variables) do
    if variable[type_key] then
      assign(lines, variable[type_key], variable.name, variable[before], variable[after])
    end
  end
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

return M
