--- Drafts a `migrate` function for what a reload cannot carry by itself: text for a person to
--- fill in.
local core = require "hotlua.core"

local M = {}

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch "%a+" do
  keywords[word] = true
end

local function is_identifier(name)
  return name:find "^[%a_][%w_]*$" and not keywords[name]
end

local function index(name)
  return is_identifier(name) and "." .. name or ("[%q]"):format(name)
end

-- `api.table.rows[3].limit`; the first `length` characters are the variable's name.
local function spell(side, path, length)
  local parts = { side, ".api", index(path:sub(1, length)) }
  for bracket, name in path:sub(length + 1):gmatch "(%[?)%.?([^.%[%]]+)" do
    parts[#parts + 1] = bracket == "[" and ("[%s]"):format(name) or index(name)
  end
  return table.concat(parts)
end

-- Names that one list has and the other has not.
local function only_in(list, other)
  local has, only = {}, {}
  for _, name in ipairs(other) do has[name] = true end
  for _, name in ipairs(list) do
    if not has[name] then only[#only + 1] = name end
  end
  return only
end

local function variable_names(image)
  local names = {}
  for _, variable in ipairs(core.variables(image)) do names[#names + 1] = variable.name end
  return names
end

-- What stands beside the path on the other side and is new there: where its value may belong.
local function candidates(old, new, path)
  local parent = path:match "^(.*)%.[^.%[]*$"
  local _, _, before = core.path_type(old, parent or "")
  local _, length, after = core.path_type(new, parent or "")
  if parent and before and after then
    local found = {}
    for i, name in ipairs(only_in(after, before)) do
      local full = parent .. "." .. name
      found[i] = { path = full, length = length, type = core.path_type(new, full) }
    end
    return found
  end
  local found = {}
  for i, name in ipairs(only_in(variable_names(new), variable_names(old))) do
    found[i] = { path = name, length = #name, type = core.path_type(new, name) }
  end
  return found
end

local function add_gone(lines, old, new, path, before, length)
  local from = spell("old", path, length)
  lines[#lines + 1] = ("  -- %s is gone; it was: %s"):format(path, before)
  local places = candidates(old, new, path)
  for _, place in ipairs(places) do
    lines[#lines + 1] = ("  -- %s = %s -- now: %s"):format(
      spell("new", place.path, place.length), from, place.type or "type unknown")
  end
  if #places == 0 then lines[#lines + 1] = ("  -- its value: %s"):format(from) end
end

local function add_path(lines, old, new, path, why)
  local before, length = core.path_type(old, path)
  local after, new_length = core.path_type(new, path)
  if before and not after then return add_gone(lines, old, new, path, before, length) end
  if not after then return end
  lines[#lines + 1] = ("  -- %s would be reset%s"):format(path, why and ": " .. why or "")
  if before and before ~= after then
    lines[#lines + 1] = ("  -- was: %s; now: %s"):format(before, after)
  end
  local from = before and spell("old", path, length) or "nil"
  lines[#lines + 1] = ("  -- %s = %s"):format(spell("new", path, new_length), from)
end

-- Paths that lose something: those that are reset, and variables that are gone.
local function lost_paths(old, new, diff)
  local paths, seen = {}, {}
  local function add(path)
    if not seen[path] then paths[#paths + 1] = path end
    seen[path] = true
  end
  for _, path in ipairs(diff.reset) do add(path) end
  for _, name in ipairs(only_in(variable_names(old), variable_names(new))) do
    add(name)
  end
  table.sort(paths)
  return paths
end

--- The text of a Lua file that returns the function; nil when nothing would be lost.
--- @param old userdata image handle
--- @param new userdata image handle
--- @param diff table { reset, why }
--- @return string?
function M.write(old, new, diff)
  local lines = {}
  for _, path in ipairs(lost_paths(old, new, diff)) do
    if #lines > 0 then lines[#lines + 1] = "" end
    add_path(lines, old, new, path, diff.why[path])
  end
  if #lines == 0 then return nil end
  return table.concat({
    "-- To be filled in, and given as hot.load(path, { migrate = migrate }).",
    "local function migrate(new, old, report)",
    table.concat(lines, "\n"),
    "end",
    "",
    "return migrate",
    "",
  }, "\n")
end

return M
