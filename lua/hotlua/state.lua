--- dump and restore: the carried variables as plain Lua data. Structs become tables by field name, arrays
--- lists from 1, char arrays strings; pointers have no meaning outside the process and are left out.
local core = require "hotlua.core"

local M = {}

-- The variables that a reload with this plugin's options carries, in order: what it would keep of the live
-- image for the same image.
local function carried(owner)
  local image = owner.live.handle
  local plan = assert(core.carry_plan(image, image, owner.options.carry))
  local names = core.carry_describe(plan).kept
  core.carry_close(plan)
  table.sort(names)
  return names
end

local to_plain

local function get(container, key)
  return container[key]
end

-- What is there as plain data, nil where Lua has none for the type.
local function field_to_plain(container, key)
  local ok, value = pcall(get, container, key)
  if ok then return to_plain(value) end
  return nil
end

local function length(view)
  return #view
end

-- A flexible array has no known length.
local function array_to_plain(view)
  local ok, count = pcall(length, view)
  if not ok then return nil end
  if core.is_text(view) then return (core.string(view, count):gsub("\0+$", "")) end
  local list = {}
  for i = 0, count - 1 do list[i + 1] = field_to_plain(view, i) end
  return list
end

function to_plain(value)
  if type(value) ~= "userdata" then
    if type(value) == "function" then return nil end
    return value
  end
  local kind = core.kind(value)
  if kind == "array" then return array_to_plain(value) end
  if kind ~= "struct" and kind ~= "union" then return nil end
  local fields = {}
  for name in pairs(value) do fields[name] = field_to_plain(value, name) end
  return fields
end

--- @param owner table the plugin's private state
--- @return table name -> value
function M.dump(owner)
  local values = {}
  for _, name in ipairs(carried(owner)) do values[name] = field_to_plain(owner.live.api, name) end
  return values
end

local function is_same(a, b)
  local are_floats = math.type(a) == "float" and math.type(b) == "float"
  if are_floats then return string.pack("n", a) == string.pack("n", b) end -- -0.0, not a number
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not is_same(value, b[key]) then return false end
  end
  return true
end

local assign

-- Members of a union lie over each other: after the one that has all the bytes no other is written.
local function assign_fields(container, fields, path)
  for name, value in pairs(fields) do
    if not is_same(value, field_to_plain(container, name)) then
      assign(container, name, value, path .. "." .. name)
    end
  end
end

local function assign_array(array, list, path)
  for i = 1, #array do
    if list[i] ~= nil then assign(array, i - 1, list[i], ("%s[%d]"):format(path, i - 1)) end
  end
end

function assign(container, key, value, path)
  local current = container[key]
  if type(value) ~= "table" or type(current) ~= "userdata" then
    local ok, message = pcall(function() container[key] = value end)
    if not ok then error(("restore: '%s': %s"):format(path, message), 0) end
    return
  end
  if core.kind(current) == "array" then return assign_array(current, value, path) end
  assign_fields(current, value, path)
end

--- @param owner table the plugin's private state
--- @param values table as dump made it; names that the plugin does not have are an error
function M.restore(owner, values)
  if type(values) ~= "table" then
    error(("bad argument #1 to 'restore' (table expected, got %s)"):format(type(values)), 3)
  end
  local known = {}
  for _, name in ipairs(carried(owner)) do known[name] = true end
  for name in pairs(values) do
    if not known[name] then
      error(("restore: plugin '%s' carries no variable '%s'"):format(owner.name, tostring(name)), 3)
    end
  end
  for name, value in pairs(values) do assign(owner.live.api, name, value, name) end
end

return M
