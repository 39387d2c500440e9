--- Random types and signatures for spec/signature_spec.lua.
local kinds = require "kinds"

local M = {}

local random = math.random

local function one_of(list)
  return list[random(#list)]
end

--- Every integer type.
M.integers = {}
for _, type in ipairs {
  { "char", 1, true }, { "int8_t", 1, true }, { "uint8_t", 1, false }, { "int16_t", 2, true },
  { "uint16_t", 2, false }, { "int32_t", 4, true }, { "uint32_t", 4, false }, { "int64_t", 8, true },
  { "uint64_t", 8, false }, { "long", 8, true }, { "unsigned long long", 8, false },
} do
  M.integers[#M.integers + 1] = kinds.integer(table.unpack(type))
end
M.float, M.double = kinds.float("float", "f"), kinds.float("double", "d")
M.long_double = kinds.float("long double", "d")
M.complexes = { kinds.complex("float", "f"), kinds.complex("double", "d"), kinds.complex("long double", "d") }

local function random_scalar()
  local dice = random(10)
  if dice <= 4 then return one_of(M.integers) end
  if dice <= 6 then return M.double end
  if dice <= 8 then return M.float end
  if dice == 9 then return kinds.bool end
  return random(2) == 1 and kinds.text or kinds.opaque
end

local random_record

local function random_member(depth)
  local dice = random(12)
  if dice == 1 and depth < 2 then return random_record(depth + 1) end
  if dice == 2 then return kinds.array(random_scalar(), random(4)) end
  if dice == 3 and depth < 2 then return kinds.array(random_record(depth + 1), random(2)) end
  if dice == 4 then return kinds.enum { random(-5, 5), random(10, 1000) } end
  return random_scalar()
end

-- Behind the first member of a union no struct: clang (14) passes only the `float` of a double that shares its place
-- with a struct of a float and padding, from clang to clang, too.
function random_record(depth)
  local fields, word = {}, random(6) == 1 and "union" or "struct"
  for i = 1, random(5) do
    local kind = random_member(word == "union" and i > 1 and 2 or depth)
    fields[i] = { name = "m" .. i, kind = kind }
    if kind.is_integer and random(5) == 1 then fields[i].bits = random(kind.size * 8) end
  end
  if word == "struct" and random(6) == 1 then
    local inside = random(2) == 1 and "union" or "struct"
    fields[#fields + 1] = { inside = inside, { name = "n1", kind = random_scalar() }, { name = "n2", kind = random_scalar() } }
  end
  return kinds.record(word, fields)
end

local function random_callback()
  local parameters = {}
  for i = 1, random(0, 8) do parameters[i] = random(5) == 1 and random_record(1) or random_scalar() end
  local result
  if random(5) > 1 then result = random(5) == 1 and random_record(1) or one_of { M.float, M.double, kinds.bool, one_of(M.integers) } end
  return kinds.callback(result, parameters)
end

-- What a pointer leads to; `const char *` would be a string.
local function random_target()
  local kind = random(2) == 1 and random_record(0) or random_scalar()
  return kind.c == "char" and M.double or kind
end

local function random_kind()
  local dice = random(20)
  if dice <= 9 then return random_scalar() end
  if dice <= 13 then return random_record(0) end
  if dice == 14 then return kinds.enum { random(-1000, -1), 0, random(70000) } end
  if dice == 15 then return kinds.buffer(random_target(), random(4)) end
  if dice == 16 then return kinds.out(random_target(), random(3)) end
  if dice == 17 then return random_callback() end
  if dice == 18 then return one_of { M.long_double, one_of(M.complexes) } end
  return one_of { M.double, one_of(M.integers) }
end

-- What passes through `...` as Lua gives it.
local function variadic_kinds()
  local list = {}
  for i = 1, random(8) do list[i] = one_of { M.integers[6], M.double, kinds.text } end
  return list
end

--- A random function of that name.
function M.signature(name)
  local fn = { name = name, parameters = {} }
  for i = 1, random(3) == 1 and random(0, 14) or random(0, 6) do fn.parameters[i] = random_kind() end
  local dice = random(10)
  if dice <= 4 and #fn.parameters > 0 then
    fn.echo = random(#fn.parameters)
    fn.result = fn.parameters[fn.echo]
  elseif dice <= 9 then
    fn.result = random_kind()
  end
  if random(12) == 1 and #fn.parameters > 0 then fn.variadic = variadic_kinds() end
  return fn
end

return M
