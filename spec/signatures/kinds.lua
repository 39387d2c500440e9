--- Kinds of C types for the specs of calls: each can be declared in C, drawn at random, written as a C
--- literal, given from Lua, and noted leaf by leaf in the same words by C (`note`) and by Lua (`show`).
---
--- A kind has: c, the type's name; define(), C text that is needed once (nil: none); uses, the kinds that
--- come before it; random() -> value; literal(value) -> C; variable(name, value) -> C declaration;
--- give(value, plugin) -> what Lua passes; note(expression) -> C statements; show(plugin, found) notes what
--- Lua found; returns(value) -> C statements that return it.
local hot = require "hotlua"

local M = {}

local random = math.random
local names = 0

-- Adds to the log of the call that is under way.
local function say(plugin, text)
  plugin.api.note_words(text)
end

--- Begin names anew, so that a file is made of its seed alone.
function M.restart()
  names = 0
end

local function new_name(letter)
  names = names + 1
  return letter .. names
end

local function chance(percent)
  return random(100) <= percent
end

local function one_of(list)
  return list[random(#list)]
end

local function map(list, fn)
  local result = {}
  for i, item in ipairs(list) do result[i] = fn(item, i) end
  return result
end

local function join(list, fn, separator)
  return table.concat(map(list, fn), separator or ", ")
end

-- What most kinds do.
local function kind_of(kind)
  kind.uses = kind.uses or {}
  kind.declare = kind.declare or function(name) return kind.c .. " " .. name end
  kind.give = kind.give or function(value) return value end
  kind.variable = kind.variable or function(name, value)
    return ("%s %s = %s;"):format(kind.c, name, kind.literal(value))
  end
  kind.returns = kind.returns or function(value)
    return ("%s answer = %s; return answer;"):format(kind.c, kind.literal(value))
  end
  return kind
end

-- Scalars -------------------------------------------------------------------------------------------

local function random_integer(bits, signed)
  local low = signed and -1 << (bits - 1) or 0
  local high = signed and ~low or (bits == 64 and -1 or (1 << bits) - 1)
  local dice = random(8)
  if dice == 1 then return low end
  if dice == 2 then return high end
  if dice == 3 then return 0 end
  if dice == 4 then return bits > 1 and 1 or high end
  if dice == 5 and signed then return -1 end
  local value = random(0)
  if bits == 64 then return value end
  value = value & ((1 << bits) - 1)
  return signed and value >= 1 << (bits - 1) and value - (1 << bits) or value
end

local function show_integer(plugin, found)
  say(plugin, tostring(found) .. " ")
end

--- An integer type; `bits` of random() are those of a bit-field.
function M.integer(c, size, signed)
  return kind_of {
    c = c, is_integer = true, size = size,
    random = function(bits) return random_integer(bits or size * 8, signed) end,
    literal = function(value) return ("((%s)0x%xULL)"):format(c, value) end,
    note = function(expression) return ("note_integer((int64_t)(%s));"):format(expression) end,
    show = show_integer,
  }
end

local floats <const> = {
  0.0, -0.0, 1.0, -1.5, math.huge, -math.huge, 0 / 0, 0x1.fffffep127, 0x1p-126, 0x1p-149, 1 / 3, 1e10,
}

local function random_float(pack)
  local value = chance(40) and one_of(floats) or (random() - 0.5) * 2 ^ random(-60, 60)
  return string.unpack(pack, string.pack(pack, value))
end

local function float_literal(value)
  if value ~= value then return "__builtin_nan(\"\")" end
  if value == math.huge or value == -math.huge then return value > 0 and "__builtin_inf()" or "-__builtin_inf()" end
  return ("%a"):format(value)
end

local function float_text(found)
  if math.type(found) ~= "float" then return "no float: " .. tostring(found) end
  return found ~= found and "nan " or ("%a "):format(found)
end

--- float, double or long double; `pack` is the format of string.pack that has its values.
function M.float(c, pack)
  return kind_of {
    c = c, is_float = true,
    random = function() return random_float(pack) end,
    literal = function(value) return ("((%s)%s)"):format(c, float_literal(value)) end,
    note = function(expression) return ("note_float((double)(%s));"):format(expression) end,
    show = function(plugin, found) say(plugin, float_text(found)) end,
  }
end

--- A complex number; to Lua it is { real, imaginary }. `part` is the C type of each of the two.
function M.complex(part, pack)
  local function finite()
    local value = random_float(pack)
    return value - value == 0 and value or 0.0
  end
  return kind_of {
    c = part .. " _Complex",
    random = function() return { finite(), finite() } end,
    literal = function(value)
      return ("__builtin_complex((%s)%a, (%s)%a)"):format(part, value[1], part, value[2])
    end,
    note = function(expression)
      return ("note_float((double)__real__(%s)); note_float((double)__imag__(%s));"):format(expression, expression)
    end,
    show = function(plugin, found) say(plugin, float_text(found[1]) .. float_text(found[2])) end,
  }
end

M.bool = kind_of {
  c = "bool", is_bool = true,
  random = function() return chance(50) end,
  literal = tostring,
  note = function(expression) return ("note(%s ? \"true \" : \"false \");"):format(expression) end,
  show = function(plugin, found) say(plugin, tostring(found) .. " ") end,
}

--- An enum with enumerators of these values, given by number or by name.
function M.enum(values)
  local tag = new_name "e"
  local kind
  kind = kind_of {
    c = "enum " .. tag,
    define = function()
      return ("enum %s { %s };"):format(tag, join(values, function(value, i)
        return ("%s_%d = %d"):format(tag, i, value)
      end))
    end,
    random = function() return random(#values) end,
    literal = function(value) return ("%s_%d"):format(tag, value) end,
    give = function(value) return chance(50) and values[value] or ("%s_%d"):format(tag, value) end,
    note = function(expression) return ("note_integer((int64_t)(%s));"):format(expression) end,
    show = show_integer,
  }
  return kind
end

local texts <const> = { "", "a", "hello world", "100 %s", "ä–ö", ("long "):rep(60) }

--- const char *: a string or nil.
M.text = kind_of {
  c = "const char *",
  random = function() return random(7) <= 6 and one_of(texts) or nil end,
  literal = function(value) return value and ("%q"):format(value) or "0" end,
  note = function(expression) return ("note_text_or_nil(%s);"):format(expression) end,
  show = function(plugin, found) say(plugin, found == nil and "nil " or ("\"%s\" "):format(found)) end,
}

--- void *: an address that C gives back.
M.opaque = kind_of {
  c = "void *",
  random = function() return random(4) > 1 and (random(0) & 0xffffffffff00) | 1 or nil end,
  literal = function(value) return ("((void *)0x%x)"):format(value or 0) end,
  give = function(value) return value and hot.cast("void *", value) end,
  note = function(expression) return ("note_integer((int64_t)(%s));"):format(expression) end,
  show = function(plugin, found) say(plugin, (found == nil and "0" or tostring(hot.address(found))) .. " ") end,
}

-- Structs, unions, arrays ---------------------------------------------------------------------------

--- An array inside a struct.
function M.array(of, count)
  return kind_of {
    c = ("%s[%d]"):format(of.c, count), uses = { of },
    declare = function(name) return of.declare(("%s[%d]"):format(name, count)) end,
    random = function()
      local value = {}
      for i = 1, count do value[i] = of.random() end
      return value
    end,
    literal = function(value)
      local parts = {}
      for i = 1, count do parts[i] = of.literal(value[i]) end
      return ("{ %s }"):format(table.concat(parts, ", "))
    end,
    give = function(value, plugin)
      local list = {}
      for i = 1, count do list[i] = of.give(value[i], plugin) end
      return list
    end,
    note = function(expression)
      local parts = {}
      for i = 1, count do parts[i] = of.note(("%s[%d]"):format(expression, i - 1)) end
      return table.concat(parts, " ")
    end,
    show = function(plugin, found)
      for i = 0, count - 1 do of.show(plugin, found[i]) end
    end,
  }
end

local function declare_field(field)
  if field.inside then
    return ("%s { %s };"):format(field.inside, join(field, declare_field, " "))
  end
  local bits = field.bits and (" : %d"):format(field.bits) or ""
  return field.kind.declare(field.name) .. bits .. ";"
end

-- The fields that hold values: of a union only the first.
local function leaves_of(fields, word, list)
  for i, field in ipairs(fields) do
    if word == "union" and i > 1 then break end
    if field.inside then leaves_of(field, field.inside, list) else list[#list + 1] = field end
  end
  return list
end

local function kinds_of(fields, list)
  for _, field in ipairs(fields) do
    if field.inside then kinds_of(field, list) else list[#list + 1] = field.kind end
  end
  return list
end

--- A struct or union of fields { name, kind, bits }; an anonymous member is a list of fields with inside =
--- "struct" or "union". Of a union the first field is the one in use. `attribute`: "packed".
function M.record(word, fields, attribute)
  local tag = new_name(word:sub(1, 1))
  local leaves = leaves_of(fields, word, {})
  local kind
  local function table_of(value, plugin)
    local result = {}
    for i, field in ipairs(leaves) do result[field.name] = field.kind.give(value[i], plugin) end
    return result
  end
  kind = kind_of {
    c = word .. " " .. tag, uses = kinds_of(fields, {}), is_record = true,
    define = function()
      return ("%s%s %s { %s };\nstatic __attribute__((noinline)) void note_%s(const %s *v) { %s }"):format(word,
        attribute and (" __attribute__((%s))"):format(attribute) or "", tag, join(fields, declare_field, " "), tag,
        word .. " " .. tag, join(leaves, function(field) return field.kind.note("v->" .. field.name) end, " "))
    end,
    random = function()
      local value = {}
      for i, field in ipairs(leaves) do value[i] = field.kind.random(field.bits) end
      return value
    end,
    literal = function(value)
      return ("{ %s }"):format(join(leaves, function(field, i)
        return (".%s = %s"):format(field.name, field.kind.literal(value[i]))
      end))
    end,
    give = function(value, plugin)
      local fill = table_of(value, plugin)
      return chance(50) and fill or plugin.types[kind.c](fill)
    end,
    note = function(expression) return ("note_%s(&%s);"):format(tag, expression) end,
    show = function(plugin, found)
      for _, field in ipairs(leaves) do field.kind.show(plugin, found[field.name]) end
    end,
  }
  return kind
end

-- Pointers ------------------------------------------------------------------------------------------

local function note_elements(of, count, expression)
  local parts = {}
  for i = 0, count - 1 do parts[#parts + 1] = of.note(("%s[%d]"):format(expression, i)) end
  return ("if (%s) { %s } else { note(\"nil \"); }"):format(expression, table.concat(parts, " "))
end

local function show_elements(of, count, plugin, found)
  if found == nil then return say(plugin, "nil ") end
  for i = 0, count - 1 do of.show(plugin, found[i]) end
end

local function pointer_to(of, count, c, is_const)
  local list = M.array(of, count)
  return kind_of {
    c = c, uses = { of },
    random = function() return chance(85) and list.random() or nil end,
    variable = function(name, value)
      if not value then return ("%s %s = 0;"):format(c, name) end
      return ("%s%s[%d] = %s;"):format(is_const and of.c .. " const " or of.c .. " ", name, count, list.literal(value))
    end,
    returns = function(value)
      if not value then return "return 0;" end
      return ("static %s answer[%d] = %s; return answer;"):format(of.c, count, list.literal(value))
    end,
    give = function(value, plugin)
      if not value then return nil end
      local elements = list.give(value, plugin)
      if is_const and #elements == count and chance(50) then return elements end
      return plugin.types[("%s[%d]"):format(of.c, count)](elements)
    end,
    note = function(expression) return note_elements(of, count, expression) end,
    show = function(plugin, found) show_elements(of, count, plugin, found) end,
  }
end

--- `const T *`: a buffer that C reads, given as a table or an array.
function M.buffer(of, count)
  return pointer_to(of, count, of.c .. " const *", true)
end

--- `T *`: C writes there; what it writes is the same at every call.
function M.out(of, count)
  local kind = pointer_to(of, count, of.c .. " *", false)
  local written = {}
  for i = 1, count do written[i] = of.random() end
  function kind.change(expression)
    local parts = {}
    for i = 1, count do
      parts[i] = ("%s v%d = %s; %s[%d] = v%d;"):format(of.c, i, of.literal(written[i]), expression, i - 1, i)
    end
    return ("if (%s) { %s }"):format(expression, table.concat(parts, " "))
  end
  return kind
end

-- Functions -----------------------------------------------------------------------------------------

local function variables(kinds, values)
  return join(kinds, function(kind, i) return kind.variable("x" .. i, values[i]) end, " ")
end

-- C that calls `expression` with fixed values and notes the result.
local function note_call(kind, expression)
  local arguments = {}
  for i in ipairs(kind.parameters) do arguments[i] = "x" .. i end
  local call = ("%s(%s)"):format(expression, table.concat(arguments, ", "))
  local result = kind.result
  local run = result and ("%s got = %s; %s"):format(result.c, call, result.note "got") or call .. ";"
  return ("if (%s) { %s %s } else { note(\"nil \"); }"):format(expression,
    variables(kind.parameters, kind.given), run)
end

-- The callback in C: notes what it is given and answers.
local function define_callback(kind)
  local parameters = join(kind.parameters, function(parameter, i) return parameter.declare("x" .. i) end)
  local notes = join(kind.parameters, function(parameter, i) return parameter.note("x" .. i) end, " ")
  local result = kind.result
  local given, returned = parameters == "" and "void" or parameters, result and result.c or "void"
  return ("typedef %s (*%s)(%s);\nstatic %s %s_native(%s) { note(\"call \"); %s %s }\nvoid run_%s(%s f) { %s }"):format(
    returned, kind.c, given, returned, kind.c, given, notes, result and result.returns(kind.answer) or "",
    kind.c, kind.c, note_call(kind, "f"))
end

-- The same in Lua.
local function new_callback(kind, plugin)
  return function(...)
    say(plugin, "call ")
    for i, parameter in ipairs(kind.parameters) do parameter.show(plugin, (select(i, ...))) end
    if kind.result then return kind.result.give(kind.answer, plugin) end
  end
end

--- A function pointer, called with the same values each time. `result` nil: void.
function M.callback(result, parameters)
  local kind
  local uses = { table.unpack(parameters) }
  uses[#uses + 1] = result
  kind = kind_of {
    c = new_name "cb", uses = uses, result = result, parameters = parameters, is_callback = true,
    define = function() return define_callback(kind) end,
    random = function() return chance(85) end,
    literal = function(value) return value and kind.c .. "_native" or "0" end,
    give = function(value, plugin)
      if not value then return nil end
      kind.functions[plugin] = kind.functions[plugin] or new_callback(kind, plugin)
      return kind.functions[plugin]
    end,
    note = function(expression) return note_call(kind, expression) end,
    show = function(plugin, found)
      if found == nil then return say(plugin, "nil ") end
      if found == kind.functions[plugin] then return plugin.api["run_" .. kind.c](found) end
      local values = map(parameters, function(parameter, i)
        return parameter.give(kind.given[i], plugin) or false
      end)
      for i, parameter in ipairs(parameters) do
        if values[i] == false and not parameter.is_bool then values[i] = nil end
      end
      local answer = found(table.unpack(values, 1, #parameters))
      if result then result.show(plugin, answer) end
    end,
  }
  kind.functions = setmetatable({}, { __mode = "k" })
  kind.given = {}
  for i, parameter in ipairs(parameters) do kind.given[i] = parameter.random() end
  kind.answer = result and result.random()
  return kind
end

return M
