--- The functions of spec/torture_spec.lua: every kind of type first, last, from the sixth to the ninth
--- argument, behind the registers, and as a result.
local kinds = require "kinds"
local random = require "random"

local M = {}

local byte, short, int, long = random.integers[2], random.integers[4], random.integers[6], random.integers[8]
local float, double, text = random.float, random.double, kinds.text

-- A struct of these kinds.
local function struct(members, attribute)
  local fields = {}
  for i, kind in ipairs(members) do fields[i] = { name = "m" .. i, kind = kind } end
  return kinds.record("struct", fields, attribute)
end

local function union(...)
  local fields = {}
  for i, kind in ipairs { ... } do fields[i] = { name = "m" .. i, kind = kind } end
  return kinds.record("union", fields)
end

local function bits(...)
  local fields = {}
  for i, width in ipairs { ... } do
    fields[i] = { name = "m" .. i, kind = i % 2 == 0 and int or random.integers[7], bits = width }
  end
  return kinds.record("struct", fields)
end

local function add_scalars(list)
  for _, kind in ipairs(random.integers) do list[#list + 1] = kind end
  for _, kind in ipairs(random.complexes) do list[#list + 1] = kind end
  for _, kind in ipairs {
    float, double, random.long_double, kinds.bool, text, kinds.opaque,
    kinds.enum { 0, 1, 7 }, kinds.enum { -3, 0, 2147483647 }, kinds.enum { 0, 4294967295 },
  } do list[#list + 1] = kind end
end

local function add_records(list)
  local point, mixed = struct { int, int }, struct { double, int }
  for _, count in ipairs { 1, 3, 7, 9, 13, 16, 17 } do list[#list + 1] = struct { kinds.array(byte, count) } end
  for _, kind in ipairs {
    struct { short }, struct { int }, struct { long }, point, struct { float }, struct { double },
    struct { float, float }, struct { float, int }, struct { int, float }, struct { float, float, float },
    struct { float, float, float, float }, struct { float, int, float }, mixed, struct { int, double },
    struct { double, float }, struct { double, double }, struct { long, long }, struct { byte, double },
    struct { long, long, long }, struct { double, double, double }, struct { text, long }, struct { kinds.bool, text },
    struct { point, point }, struct { mixed, byte }, struct { struct { struct { float } }, float },
    struct { kinds.array(float, 2), kinds.array(int, 2) }, struct { kinds.array(point, 3) },
    union(int, float), union(float, int), union(double, float), union(long, kinds.array(double, 3)),
    union(point, double), union(struct { double, double }, long), struct { union(float, double), float },
    bits(1), bits(3, 5, 7), bits(31, 32, 1), bits(20, 20, 20, 20), bits(7, 9, 30, 32, 3), struct { double, bits(5, 6) },
    kinds.record("struct", {
      { name = "m1", kind = int },
      { inside = "union", { name = "m2", kind = float }, { name = "m3", kind = double } },
      { inside = "struct", { name = "m4", kind = byte }, { name = "m5", kind = text } },
    }),
    struct { random.complexes[1], int }, struct({ int, byte }, "packed"),
  } do list[#list + 1] = kind end
end

local function add_pointers(list)
  local point = struct { int, double }
  for _, kind in ipairs {
    kinds.buffer(int, 4), kinds.buffer(double, 3), kinds.buffer(text, 2), kinds.buffer(point, 2), kinds.buffer(point, 1),
    kinds.out(byte, 8), kinds.out(random.integers[9], 1), kinds.out(float, 2), kinds.out(kinds.bool, 3), kinds.out(text, 1),
    kinds.out(point, 1), kinds.out(point, 2), kinds.out(struct { kinds.array(long, 8), text }, 1),
    kinds.out(bits(3, 5, 7), 2), kinds.out(kinds.opaque, 2),
    kinds.callback(int, { int, int }), kinds.callback(nil, {}), kinds.callback(double, { float, double, long }),
    kinds.callback(point, { point, byte }), kinds.callback(kinds.bool, { text, kinds.opaque }),
    kinds.callback(long, { int, int, int, int, int, int, int, long, double }),
    kinds.callback(float, { double, double, double, double, double, double, double, double, float, double }),
    kinds.callback(struct { long, long, long }, { struct { double, double }, struct { float, float, float } }),
  } do list[#list + 1] = kind end
end

-- What the kind is passed with, and where.
local function functions_of(kind, number)
  local list = {}
  local function add(word, parameters, echo)
    list[#list + 1] = {
      name = ("%s_%d"):format(word, number), parameters = parameters, echo = echo,
      result = kind,
    }
  end
  add("ends", { kind, int, double, byte, kind }, 1)
  add("middle", { int, long, short, int, byte, kind, kind, kind, kind }, 9)
  add("behind", { float, double, double, double, double, double, double, kind, double, kind }, nil)
  return list
end

local function variadics()
  local list = {}
  for count = 1, 9 do
    local fn = { name = "variadic_" .. count, parameters = { count % 2 == 0 and double or int }, variadic = {}, result = long }
    for i = 1, count do fn.variadic[i] = ({ int, double, text })[(i * count) % 3 + 1] end
    list[count] = fn
  end
  return list
end

-- More arguments than registers of either sort.
local function crowds()
  local function crowd(name, count, ...)
    local kinds_in_turn, parameters = { ... }, {}
    for i = 1, count do parameters[i] = kinds_in_turn[(i - 1) % #kinds_in_turn + 1] end
    return { name = name, parameters = parameters, echo = count, result = parameters[count] }
  end
  return {
    crowd("integers", 16, int), crowd("narrow", 14, byte, short), crowd("doubles", 16, double), crowd("floats", 14, float),
    crowd("mixed", 24, int, double), crowd("everything", 20, byte, float, text, double, long),
    crowd("structs", 9, struct { int, double }), crowd("pairs", 8, struct { float, float, float }, long),
  }
end

--- All of them.
function M.functions()
  local list, all = {}, {}
  add_scalars(list)
  add_records(list)
  add_pointers(list)
  for number, kind in ipairs(list) do
    for _, fn in ipairs(functions_of(kind, number)) do all[#all + 1] = fn end
  end
  for _, more in ipairs { variadics(), crowds() } do
    for _, fn in ipairs(more) do all[#all + 1] = fn end
  end
  return all
end

return M
