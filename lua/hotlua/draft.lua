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

local counters = { "i", "j", "k", "l" }

-- `api.table.rows[3].limit`; the first `length` characters are the variable's name, "[]" is each
-- element of an array.
local function spell(side, path, length)
  local parts, loops = { side, ".api", index(path:sub(1, length)) }, 0
  for bracket, name in path:sub(length + 1):gmatch "(%[?)%.?([^.%[%]]*)%]?" do
    if bracket == "[" and name == "" then
      loops = loops + 1
      parts[#parts + 1] = ("[%s]"):format(counters[loops] or "n" .. loops)
    elseif bracket == "[" then
      parts[#parts + 1] = ("[%s]"):format(name)
    elseif name ~= "" then
      parts[#parts + 1] = index(name)
    end
  end
  return table.concat(parts)
end

-- For each "[]" in the path the last index that both sides have.
local function loop_ends(both, path)
  local ends, from = {}, 1
  while true do
    local at = path:find("[]", from, true)
    if not at then return ends end
    local before = core.path_type(both.old, path:sub(1, at - 1)) or ""
    local after = core.path_type(both.new, path:sub(1, at - 1)) or ""
    local count = tonumber(before:match "%[(%d+)%]") or 1
    ends[#ends + 1] = math.min(count, tonumber(after:match "%[(%d+)%]") or count) - 1
    from = at + 2
  end
end

-- The assignment as comments, in loops over the arrays on its way.
local function add_assignment(lines, both, path, text)
  local ends = loop_ends(both, path)
  for i, last in ipairs(ends) do
    lines[#lines + 1] = ("  -- %sfor %s = 0, %d do"):format(
      ("  "):rep(i - 1), counters[i] or "n" .. i, last)
  end
  lines[#lines + 1] = ("  -- %s%s"):format(("  "):rep(#ends), text)
  for i = #ends, 1, -1 do lines[#lines + 1] = ("  -- %send"):format(("  "):rep(i - 1)) end
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

-- How much of two names is the same from their beginning.
local function common_length(a, b)
  local length = 0
  while length < #a and a:byte(length + 1) == b:byte(length + 1) do length = length + 1 end
  return length
end

local function last_name(path)
  return path:match "[^.]*$"
end

-- The likeliest first: the same type, then a name that begins alike.
local function rank(places, path, type_text)
  local name = last_name(path)
  local function score(place)
    local likeness = common_length(last_name(place.path), name)
    return (place.type == type_text and 1000 or 0) + likeness
  end
  table.sort(places, function(x, y)
    local a, b = score(x), score(y)
    return a > b or (a == b and x.path < y.path)
  end)
  return table.move(places, 1, math.min(#places, 3), 1, {})
end

-- What stands beside the path on the other side and is new there: where its value may belong.
local function candidates(both, path, type_text)
  local places = {}
  if path:find "%]$" then return places end
  local parent = path:match "^(.*)%.[^.%[]*$" or ""
  local _, _, before = core.path_type(both.old, parent)
  local _, length, after = core.path_type(both.new, parent)
  local is_field = before and after
  for _, name in ipairs(is_field and only_in(after, before) or both.added) do
    local full = is_field and parent .. "." .. name or name
    places[#places + 1] = {
      path = full, length = is_field and length or #name, type = core.path_type(both.new, full),
    }
  end
  return rank(places, path, type_text)
end

local function add_gone(lines, both, path, before, length)
  local from = spell("old", path, length)
  lines[#lines + 1] = ("  -- %s is gone; it was: %s"):format(path, before)
  local places = candidates(both, path, before)
  for _, place in ipairs(places) do
    add_assignment(lines, both, path, ("%s = %s -- %s"):format(
      spell("new", place.path, place.length), from, place.type or "type unknown"))
  end
  if #places == 0 then lines[#lines + 1] = ("  -- its value: %s"):format(from) end
end

local function add_path(lines, both, path, why)
  local before, length = core.path_type(both.old, path)
  local after, new_length = core.path_type(both.new, path)
  if not before and not after then
    lines[#lines + 1] = ("  -- %s would be reset%s"):format(path, why and ": " .. why or "")
  elseif not after then
    add_gone(lines, both, path, before, length)
  else
    lines[#lines + 1] = ("  -- %s would be reset%s"):format(path, why and ": " .. why or "")
    if before and before ~= after then
      lines[#lines + 1] = ("  -- was: %s; now: %s"):format(before, after)
    end
    local from = before and spell("old", path, length) or "nil"
    add_assignment(lines, both, path, ("%s = %s"):format(spell("new", path, new_length), from))
  end
end

-- Fields of a struct that its next version has not, nested ones too.
local function add_lost_fields(both, path, add, depth)
  local _, _, before = core.path_type(both.old, path)
  local _, _, after = core.path_type(both.new, path)
  if not (before and after) or depth > 8 then return end
  for _, name in ipairs(only_in(before, after)) do add(path .. "." .. name) end
  for _, name in ipairs(only_in(before, only_in(before, after))) do
    add_lost_fields(both, path .. "." .. name, add, depth + 1)
  end
  add_lost_fields(both, path .. "[]", add, depth + 1)
end

-- Paths that lose something: those that are reset, and what is gone.
local function lost_paths(both, diff)
  local paths, seen = {}, {}
  local function add(path)
    if not seen[path] then paths[#paths + 1] = path end
    seen[path] = true
  end
  for _, path in ipairs(diff.reset) do add(path) end
  for _, name in ipairs(both.removed) do add(name) end
  for _, name in ipairs(both.names) do add_lost_fields(both, name, add, 0) end
  table.sort(paths)
  return paths
end

--- The text of a Lua file that returns the function; nil when nothing would be lost.
--- @param old userdata image handle
--- @param new userdata image handle
--- @param diff table { reset, why }
--- @return string?
function M.write(old, new, diff)
  local before, after = variable_names(old), variable_names(new)
  local both = {
    old = old, new = new, names = before, removed = only_in(before, after),
    added = only_in(after, before),
  }
  local lines = {}
  for _, path in ipairs(lost_paths(both, diff)) do
    if #lines > 0 then lines[#lines + 1] = "" end
    add_path(lines, both, path, diff.why[path])
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
