--- What a reload would keep, reset and refuse, from two images' types alone.
local core = require "hotlua.core"
local draft = require "hotlua.draft"
local signature = require "hotlua.signature"

local M = {}

local function sorted(list)
  table.sort(list)
  return list
end

--- The exports that came, went and changed their C type, as sorted lists.
--- @param old userdata image handle
--- @param new userdata image handle
--- @return string[] added, string[] removed, string[] changed
function M.exports(old, new)
  local before, after = core.export_names(old), core.export_names(new)
  local added, removed, changed = {}, {}, {}
  for name in pairs(after) do
    if not before[name] then
      added[#added + 1] = name
    elseif core.same_signature(old, new, name) == false then
      changed[#changed + 1] = name
    end
  end
  for name in pairs(before) do
    if not after[name] then removed[#removed + 1] = name end
  end
  return sorted(added), sorted(removed), sorted(changed)
end

-- { name, before, after }, sorted by name, of what is not the same text on both sides.
local function compare(before, after, wants_all)
  local list = {}
  for name, text in pairs(before) do
    local now = after[name]
    if now ~= text and (now or wants_all) then
      list[#list + 1] = { name = name, before = text, after = now }
    end
  end
  for name, text in pairs(wants_all and after or {}) do
    if not before[name] then list[#list + 1] = { name = name, after = text } end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function declared_functions(image)
  local texts = {}
  for name, kind in pairs(core.export_names(image)) do
    if kind == "function" then
      texts[name] = core.inspect_named(image, name).signature or name .. "()"
    end
  end
  return texts
end

local function declared_variables(image)
  local texts = {}
  for _, variable in ipairs(core.variables(image)) do
    texts[variable.name] = variable.type or "unknown"
  end
  return texts
end

-- What is worked out at the first look, since a policy seldom looks.
local function late_fields(old, new, diff)
  local late = {}
  function late.functions()
    return compare(declared_functions(old), declared_functions(new), true)
  end
  function late.variables()
    return compare(declared_variables(old), declared_variables(new), true)
  end
  function late.types()
    return compare(core.inspect_definitions(old), core.inspect_definitions(new), false)
  end
  function late.migrate() return draft.write(old, new, { reset = M.lost(diff), why = diff.why }) end
  return late
end

local function fill_later(diff, late)
  return setmetatable(diff, {
    __index = function(_, key)
      local work = late[key]
      if not work then return nil end
      late[key] = nil
      local value = work()
      rawset(diff, key, value)
      return value
    end,
  })
end

-- Exports that a caller would miss. A variable whose type changed is no break: it is carried or
-- reset.
local function add_breaks(refused, old, new, diff)
  local is_reset = {}
  for _, path in ipairs(diff.reset) do is_reset[path] = true end
  for _, name in ipairs(diff.removed) do
    if not is_reset[name] then refused[#refused + 1] = ("'%s' is gone"):format(name) end
  end
  for _, name in ipairs(diff.changed) do
    refused[#refused + 1] = signature.broken(old, new, name)
  end
end

--- What a reload would lose: all that is reset, but for thread-locals that begin as they did.
--- @param diff table { reset, restarted }
--- @return string[] paths
function M.lost(diff)
  local begins_as_before, paths = {}, {}
  for _, path in ipairs(diff.restarted) do begins_as_before[path] = true end
  for _, path in ipairs(diff.reset) do
    if not begins_as_before[path] then paths[#paths + 1] = path end
  end
  return paths
end

--- The whole comparison of two verified images. `types`, `functions` and `variables` list those
--- that changed as { name, before, after } in C text (nil on the side where there is none);
--- `migrate` is the text of a function to be filled in, nil when nothing would be lost.
--- @param options table? of hot.load: `carry`, `cdef`
--- `restarted` are those of `reset` that are thread-local and the same in the code as before.
--- @return table { added, removed, changed, kept, converted, reset, conflicts, repointed, held,
--- restarted, why, refused, compatible, reasons, functions, variables, types, migrate }
function M.images(old, new, options)
  options = options or {}
  core.read_types(old, options.cdef)
  core.read_types(new, options.cdef)
  local diff = {}
  diff.added, diff.removed, diff.changed = M.exports(old, new)
  local plan, message = core.carry_plan(old, new, options.carry or "merge")
  local findings = plan and core.carry_describe(plan) or {}
  for _, name in ipairs { "kept", "converted", "reset", "conflicts", "repointed", "held", "restarted" } do
    diff[name] = sorted(findings[name] or {})
  end
  diff.why = findings.why or {}
  local refused = {}
  if not plan then refused[1] = message end
  for _, name in ipairs(core.unresolved(new)) do
    refused[#refused + 1] = ("undefined symbol: %s"):format(name)
  end
  add_breaks(refused, old, new, diff)
  local reasons = table.move(refused, 1, #refused, 1, {})
  for _, path in ipairs(M.lost(diff)) do
    local why = diff.why[path]
    reasons[#reasons + 1] = ("'%s' would be reset%s"):format(path, why and " (" .. why .. ")" or "")
  end
  diff.refused, diff.reasons = refused, reasons
  diff.compatible = #reasons == 0
  return fill_later(diff, late_fields(old, new, diff))
end

local function verified(path, position)
  if type(path) ~= "string" then
    error(("bad argument #%d to 'check' (string expected, got %s)"):format(position, type(path)), 4)
  end
  local ok, handle, info = core.take { source = path, name = "check" }
  if not ok then error(info.error, 0) end
  return handle
end

--- The same of two files; raises when one is not a shared object that could be loaded.
--- @return table
function M.files(old, new, options)
  local diff = M.images(verified(old, 1), verified(new, 2), options)
  for _, name in ipairs { "functions", "variables", "types", "migrate" } do
    rawset(diff, name, diff[name])
  end
  return setmetatable(diff, nil)
end

-- C-like text ----------------------------------------------------------------------------------

local function add_changes(lines, title, changes)
  if #changes == 0 then return end
  lines[#lines + 1] = ("\n// %s"):format(title)
  for _, change in ipairs(changes) do
    if change.before then lines[#lines + 1] = "- " .. change.before .. ";" end
    if change.after then lines[#lines + 1] = "+ " .. change.after .. ";" end
  end
end

local function declaration(type_text, name)
  return type_text and ("%s: %s"):format(name, type_text)
end

local function variable_changes(list)
  local changes = {}
  for i, change in ipairs(list) do
    changes[i] = {
      before = declaration(change.before, change.name),
      after = declaration(change.after, change.name),
    }
  end
  return changes
end

local function add_state(lines, diff)
  local state = {}
  for _, name in ipairs { "kept", "converted", "repointed", "conflicts", "reset", "held" } do
    for _, path in ipairs(diff[name]) do
      local why = diff.why[path]
      state[#state + 1] = ("%-10s %s%s"):format(name, path, why and "    // " .. why or "")
    end
  end
  if #state == 0 then return end
  lines[#lines + 1] = "\n// state"
  table.move(state, 1, #state, #lines + 1, lines)
end

local function add_types(lines, types)
  for _, change in ipairs(types) do
    lines[#lines + 1] = ("\n// %s, before"):format(change.name)
    lines[#lines + 1] = (change.before:gsub("\n$", ""))
    lines[#lines + 1] = ("// %s, after"):format(change.name)
    lines[#lines + 1] = (change.after:gsub("\n$", ""))
  end
end

--- What M.files found, as text.
--- @param diff table
--- @param old string path
--- @param new string path
--- @return string
function M.text(diff, old, new)
  local lines = { ("// %s -> %s"):format(old, new) }
  add_changes(lines, "functions", diff.functions)
  add_changes(lines, "variables", variable_changes(diff.variables))
  add_state(lines, diff)
  add_types(lines, diff.types)
  if diff.migrate then lines[#lines + 1] = "\n-- " .. ("-"):rep(90) .. "\n" .. diff.migrate end
  if diff.compatible then
    local except = #diff.restarted > 0 and " but what threads have of their own" or ""
    lines[#lines + 1] = "\ncompatible: a reload would take it and lose nothing" .. except
  else
    lines[#lines + 1] = "\nwould be refused:\n  " .. table.concat(diff.reasons, "\n  ")
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
