--- Would a caller of a function still be served by its next version? Stricter than C's names of
--- the parameters, looser than its layouts: values are converted at each call.
local core = require "hotlua.core"

local M = {}

local function same_text(a, b)
  return a.type == b.type
end

local function same_declaration(before, after)
  if not (before.parameters and after.parameters) then return false end
  if #before.parameters ~= #after.parameters then return false end
  if before.variadic ~= after.variadic then return false end
  for i, parameter in ipairs(before.parameters) do
    if not same_text(parameter, after.parameters[i]) then return false end
  end
  return same_text(before.result, after.result)
end

local function find_type(image, shape)
  return core.inspect_type(image, shape.kind .. " " .. shape.tag)
    or core.inspect_type(image, shape.tag)
end

local function names_of(definition, names)
  for _, field in ipairs(definition.fields or {}) do
    if field.name then names[field.name] = true else names_of(field, names) end
  end
  for _, value in ipairs(definition.values or {}) do names[value.name] = true end
  return names
end

-- A field or enumerator of `before` that `after` has not.
local function lost_name(before, after)
  local has = names_of(after, {})
  for name in pairs(names_of(before, {})) do
    if not has[name] then return name end
  end
end

-- Calls visit(shape) for every struct, union and enum that a caller of the function meets.
local function each_tag(shape, visit)
  if shape.tag then visit(shape) end
  if shape.target then each_tag(shape.target, visit) end
  if shape.result then each_tag(shape.result, visit) end
  for _, part in ipairs(shape.parameters or shape.fields or {}) do each_tag(part, visit) end
end

-- What a type that the function takes or gives has lost; nil for nothing.
local function lost_member(old, new, f)
  local seen, found = {}, nil
  local function visit(shape)
    local key = shape.kind .. " " .. shape.tag
    if seen[key] or found then return end
    seen[key] = true
    local before, after = find_type(old, shape), find_type(new, shape)
    local lost = before and after and lost_name(before, after)
    if lost then found = ("%s has no '%s' any more"):format(before.name, lost) end
    for _, field in ipairs(before and before.fields or {}) do each_tag(field, visit) end
  end
  each_tag(f, visit)
  return found
end

--- Why callers of `name`, whose C type changed, would break; nil when they would not, or when it
--- is a variable.
--- @param old userdata image handle
--- @param new userdata image handle
--- @param name string
--- @return string?
function M.broken(old, new, name)
  local before, kind = core.inspect_named(old, name)
  local after, new_kind = core.inspect_named(new, name)
  if kind ~= new_kind then
    return ("'%s' was a %s and is a %s now"):format(name, kind, new_kind)
  end
  if kind ~= "function" then return nil end
  if not same_declaration(before, after) then
    return ("the type of '%s' changed: %s became %s"):format(
      name, before.signature or "unknown", after.signature or "unknown")
  end
  local lost = lost_member(old, new, before)
  return lost and ("the type of '%s' changed: %s"):format(name, lost)
end

return M
