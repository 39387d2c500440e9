--- dump and restore: the carried variables as plain Lua data. Structs become tables by field name, arrays
--- lists from 1, char arrays strings; pointers have no meaning outside the process and are left out.
local core = require "hotlua.core"

local M = {}

local function is_listed(list, name)
  for _, listed in ipairs(list) do
    if listed == name then return true end
  end
  return false
end

-- The variables that a reload with this plugin's options carries.
local function carried(owner)
  local mode = owner.options.carry
  local names = {}
  for _, variable in ipairs(core.variables(owner.live.handle)) do
    local wanted = variable.writable and variable.type and not variable.thread_local
    if wanted and (type(mode) ~= "table" or is_listed(mode, variable.name)) and mode ~= "none" then
      names[#names + 1] = variable.name
    end
  end
  return names
end

local to_plain

local function array_to_plain(view)
  if core.is_text(view) then return (core.string(view, #view):gsub("\0+$", "")) end
  local list = {}
  for i = 0, #view - 1 do list[i + 1] = to_plain(view[i]) end
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
  for name, field in pairs(value) do fields[name] = to_plain(field) end
  return fields
end

--- @param owner table the plugin's private state
--- @return table name -> value
function M.dump(owner)
  local values = {}
  for _, name in ipairs(carried(owner)) do values[name] = to_plain(owner.live.api[name]) end
  return values
end

local function assign(container, key, value, path)
  local current = container[key]
  if type(value) ~= "table" or type(current) ~= "userdata" then
    local ok, message = pcall(function() container[key] = value end)
    if not ok then error(("restore: '%s': %s"):format(path, message), 0) end
    return
  end
  if core.kind(current) == "array" then
    for i = 1, math.min(#value, #current) do assign(current, i - 1, value[i], ("%s[%d]"):format(path, i - 1)) end
    return
  end
  for name, field in pairs(value) do assign(current, name, field, path .. "." .. name) end
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
