--- Brings what a new run of a module's chunk has made into what the old run has made: tables stay the same
--- tables, `local` state stays the same upvalues. Everything can be put back.
local M = {}

local Merge = {}
Merge.__index = Merge

local function each_upvalue(fn, visit)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(fn, i)
    if not name then return end
    if name ~= "_ENV" then visit(i, name, value) end
  end
end

local function is_lua(fn)
  return debug.getinfo(fn, "S").what ~= "C"
end

-- Tables that belong to others: the modules that are loaded, and what they have directly.
local function foreign_tables(root)
  local foreign = { [_G] = true, [package.loaded] = true }
  for _, module in pairs(package.loaded) do
    if type(module) == "table" and module ~= root then
      foreign[module] = true
      for _, field in next, module do
        if type(field) == "table" then foreign[field] = true end
      end
    end
  end
  foreign[root] = nil
  return foreign
end

local leads_on = { table = true, ["function"] = true }

-- The functions and tables that a value leads to through fields, metatables and upvalues, each once. Other
-- modules are not entered; `owns(fn)` says whose upvalues are.
local function reach(root, foreign, owns)
  local functions, tables, seen = {}, {}, { [root] = true }
  local todo, count = { root }, 1
  local function add(value)
    if not leads_on[type(value)] or seen[value] or foreign[value] then return end
    seen[value] = true
    count = count + 1
    todo[count] = value
  end
  while count > 0 do
    local value = todo[count]
    count = count - 1
    if type(value) == "table" then
      tables[#tables + 1] = value
      for key, field in next, value do
        if leads_on[type(field)] then add(field) end
        if leads_on[type(key)] then add(key) end
      end
      add(debug.getmetatable(value))
    elseif is_lua(value) then
      functions[#functions + 1] = value
      if owns(value) then each_upvalue(value, function(_, _, upvalue) add(upvalue) end) end
    end
  end
  return functions, tables
end

local function always() return true end

local function filter(functions, accepts)
  local list = {}
  for _, fn in ipairs(functions) do
    if accepts(fn) then list[#list + 1] = fn end
  end
  return list
end

local function shallow_copy(from)
  local copy = {}
  for key, value in next, from do copy[key] = value end
  return copy
end

--- What the tables and upvalues of a module hold when its chunk has just run.
--- @param root table the module
--- @param source string of its functions
--- @return table
function M.initial(root, source)
  local function owns(fn) return debug.getinfo(fn, "S").source == source end
  local functions, tables = reach(root, foreign_tables(root), owns)
  local initial = { fields = setmetatable({}, { __mode = "k" }), is_empty = {} }
  for _, one in ipairs(tables) do initial.fields[one] = shallow_copy(one) end
  for _, fn in ipairs(filter(functions, owns)) do
    each_upvalue(fn, function(i, _, value)
      if value == nil then initial.is_empty[debug.upvalueid(fn, i)] = true end
    end)
  end
  return initial
end

-- Who goes with whom ------------------------------------------------------------------------------

-- Pairs what is found under the same keys. `how` is `fields` or `locals`, by which way it was reached.
function Merge:visit(old, new, how)
  if rawequal(old, new) then return end
  if type(old) == "function" and type(new) == "function" then
    if self.functions[new] then return end
    self.functions[new] = old
    self.replacements[old] = self.replacements[old] or new
    if self.owns(old) and self.owns(new) then self.todo[#self.todo + 1] = { old, new } end
  elseif type(old) == "table" and type(new) == "table" then
    self:visit_tables(old, new, how)
  end
end

function Merge:visit_tables(old, new, how)
  if how[new] or (how == self.locals and new == self.new) or self.foreign[old] or self.foreign[new] then return end
  if not self.tables[new] then
    if self.is_taken[old] then return end
    self.tables[new], self.is_taken[old] = old, true
    self.pairs[#self.pairs + 1] = { old = old, new = new }
  elseif self.tables[new] ~= old then
    return
  end
  how[new] = true
  for key, value in next, new do self:visit(rawget(old, key), value, how) end
  self:visit(debug.getmetatable(old), debug.getmetatable(new), how)
end

-- The upvalues of two functions, or of all, that have the same name are one from now on.
function Merge:pair_upvalue(old, new, new_value)
  local id = debug.upvalueid(new.fn, new.index)
  local old_id = debug.upvalueid(old.fn, old.index)
  if self.cells[id] ~= nil or self.is_taken[old_id] then return end
  self.cells[id], self.is_taken[old_id] = old, true
  local _, old_value = debug.getupvalue(old.fn, old.index)
  self:visit(old_value, new_value, self.locals)
end

function Merge:pair_upvalues(old_fn, new_fn)
  local places = {}
  each_upvalue(old_fn, function(i, name) places[name] = { fn = old_fn, index = i } end)
  each_upvalue(new_fn, function(i, name, value)
    if places[name] then self:pair_upvalue(places[name], { fn = new_fn, index = i }, value) end
  end)
end

function Merge:pair_functions()
  while #self.todo > 0 do
    local old, new = table.unpack(table.remove(self.todo, 1))
    self:pair_upvalues(old, new)
  end
end

-- What no pair of functions shares goes by its name alone, as far as it is still free.
function Merge:pair_by_name()
  local places = {}
  for _, fn in ipairs(self.old_functions) do
    each_upvalue(fn, function(i, name)
      if not self.is_taken[debug.upvalueid(fn, i)] then
        places[name] = places[name] or { fn = fn, index = i }
      end
    end)
  end
  for _, fn in ipairs(filter(self.new_functions, self.owns)) do
    each_upvalue(fn, function(i, name, value)
      if places[name] then
        self:pair_upvalue(places[name], { fn = fn, index = i }, value)
        self:pair_functions()
      end
    end)
  end
end

-- Applying ----------------------------------------------------------------------------------------

-- Notes how a table is, to put it back.
function Merge:save(one)
  if self.saved[one] then return end
  self.saved[one] = { fields = shallow_copy(one), metatable = debug.getmetatable(one) }
end

function Merge:set_upvalue(fn, index, value)
  local _, before = debug.getupvalue(fn, index)
  self.undo[#self.undo + 1] = function() debug.setupvalue(fn, index, before) end
  debug.setupvalue(fn, index, value)
end

function Merge:translate(value)
  return type(value) == "table" and self.tables[value] or value
end

-- Does the new value of a field take the place of the running one? Fields of the module do. In `local` state
-- code does, unless the program has put other code there, and data that the old chunk did not know of. Where
-- both hold, what the program has not touched does.
function Merge:takes(pair, key, running, value)
  local is_field, is_local = self.fields[pair.new], self.locals[pair.new]
  if not is_local then return true end
  local initial = self.initial.fields[pair.old]
  local is_untouched = not initial or rawequal(initial[key], running)
  if is_field then return is_untouched end
  local is_code = (type(value) == "function" and (running == nil or type(running) == "function"))
    or (value == nil and type(running) == "function" and initial ~= nil)
  if is_code then return is_untouched end
  return running == nil and initial ~= nil and is_untouched and type(key) == "string"
end

function Merge:apply_fields(pair)
  local old, new = pair.old, pair.new
  for key, running in next, shallow_copy(old) do
    if rawget(new, key) == nil and self:takes(pair, key, running, nil) then rawset(old, key, nil) end
  end
  for key, fresh in next, new do
    local value, running = self:translate(fresh), rawget(old, key)
    if not rawequal(value, running) and self:takes(pair, key, running, value) then
      rawset(old, self:translate(key), value)
    end
  end
end

function Merge:apply_metatable(pair)
  local before, after = debug.getmetatable(pair.old), self:translate(debug.getmetatable(pair.new))
  if before == after then return end
  if not self.locals[pair.new] or before == nil then debug.setmetatable(pair.old, after) end
end

-- Tables that are all new may hold some that were there before.
function Merge:translate_new(tables)
  for _, one in ipairs(tables) do
    if not self.tables[one] then
      for key, value in next, one do
        local translated = self:translate(value)
        if translated ~= value then rawset(one, key, translated) end
      end
      local metatable = debug.getmetatable(one)
      if metatable and self.tables[metatable] then debug.setmetatable(one, self.tables[metatable]) end
    end
  end
end

-- Is the old value of the upvalue kept?
function Merge:is_state(old, value)
  local _, running = debug.getupvalue(old.fn, old.index)
  if type(running) == "function" or type(value) == "function" then return false end
  if running == nil then
    return value == nil or not self.initial.is_empty[debug.upvalueid(old.fn, old.index)]
  end
  return value == nil or type(running) == type(value)
end

function Merge:apply_upvalues()
  for _, fn in ipairs(self.new_functions) do
    each_upvalue(fn, function(i, _, value)
      local old = self.cells[debug.upvalueid(fn, i)]
      if old and self:is_state(old, value) then
        local is_empty = self.fresh.is_empty[debug.upvalueid(fn, i)]
        self.joins[#self.joins + 1] = { fn = fn, index = i, old = old, is_empty = is_empty }
      elseif self:translate(value) ~= value then
        self:set_upvalue(fn, i, self:translate(value))
      end
    end)
  end
  for _, join in ipairs(self.joins) do debug.upvaluejoin(join.fn, join.index, join.old.fn, join.old.index) end
end

-- The initial values from now on: those of the new run, at the tables and upvalues that stay.
function Merge:move_initial()
  local fresh = self.fresh
  for one, fields in pairs(shallow_copy(fresh.fields)) do
    for key, value in next, fields do fields[key] = self:translate(value) end
    if self.tables[one] then fresh.fields[self.tables[one]] = fields end
  end
  for _, join in ipairs(self.joins) do
    fresh.is_empty[debug.upvalueid(join.fn, join.index)] = join.is_empty
  end
end

--- Prepares to bring `new` into `old`; nothing is changed yet.
--- @param old table the module
--- @param new table what a new run has returned
--- @param source string of the module's functions
--- @param initial table? M.initial of the old run, nil if it is not known
function M.plan(old, new, source, initial)
  local function owns(fn) return debug.getinfo(fn, "S").source == source end
  local foreign, _ = foreign_tables(old), nil
  local self = setmetatable({
    old = old, new = new, owns = owns, foreign = foreign, initial = initial or { fields = {}, is_empty = {} },
    tables = {},       -- new table -> old table that it becomes
    functions = {},    -- new function -> old function
    replacements = {}, -- old function -> new function
    cells = {},        -- id of a new function's upvalue -> { fn, index } of the old one
    fields = {}, locals = {}, -- new table -> how it was reached
    pairs = {}, is_taken = {}, todo = {}, joins = {}, saved = {}, undo = {},
  }, Merge)
  self.reached, self.old_tables = reach(old, foreign, always)
  self.old_functions = filter(self.reached, owns)
  self.new_functions = reach(new, foreign, always) -- those of others, which may wrap the module's own, too
  _, self.new_tables = reach(new, foreign, owns)
  self.fresh = M.initial(new, source)
  self:visit(old, new, self.fields)
  self:pair_functions()
  self:pair_by_name()
  return self
end

--- A copy of the module as it is before the merge: nested tables that the merge writes to are copied, too.
--- @return table
function Merge:copy_of_old()
  local copies = {}
  for _, pair in ipairs(self.pairs) do
    if self.fields[pair.new] then copies[pair.old] = {} end
  end
  for one, copy in pairs(copies) do
    for key, value in next, one do copy[key] = copies[value] or value end
    debug.setmetatable(copy, debug.getmetatable(one))
  end
  return copies[self.old]
end

--- Notes all state of the module, so that Merge:revert puts back also what others change from now on.
function Merge:save_all()
  local _, tables = reach(self.old, self.foreign, self.owns)
  for _, one in ipairs(tables) do self:save(one) end
  for _, fn in ipairs(self.old_functions) do
    each_upvalue(fn, function(i, _, value)
      self.undo[#self.undo + 1] = function() debug.setupvalue(fn, i, value) end
    end)
  end
end

--- Brings the new run in.
function Merge:apply()
  for _, pair in ipairs(self.pairs) do self:save(pair.old) end
  self:translate_new(self.new_tables)
  self:apply_upvalues()
  for _, pair in ipairs(self.pairs) do
    self:apply_fields(pair)
    self:apply_metatable(pair)
  end
  self:move_initial()
end

function Merge:replace(functions, tables)
  local replacements, undo = self.replacements, self.undo
  for _, fn in ipairs(functions) do
    each_upvalue(fn, function(i, _, value)
      local new = replacements[value]
      if new then self:set_upvalue(fn, i, new) end
    end)
  end
  for _, one in ipairs(tables) do
    for key, value in next, one do
      local new = replacements[value]
      if new then
        undo[#undo + 1] = function() rawset(one, key, value) end
        rawset(one, key, new)
      end
    end
  end
end

--- Who else holds old functions of the module gets the new ones: what `root`, another module, leads to.
--- @param root table
--- @param initial table? M.initial of that module, which is to know them as its own
function Merge:replace_in(root, initial)
  self:replace(reach(root, foreign_tables(root), always))
  for _, fields in pairs(initial and initial.fields or {}) do self:replace({}, { fields }) end
end

--- The same for what the module itself holds.
function Merge:replace_in_own()
  self:replace(self.reached, self.old_tables)
  self:replace(self.new_functions, self.new_tables)
end

--- Whoever holds the new run's own table, which nobody should (a callback that the chunk has given away), has
--- the module through it.
function Merge:forward()
  local new, old = self.new, self.old
  for key, value in next, shallow_copy(new) do
    local is_meta = type(key) == "string" and key:sub(1, 2) == "__" -- read by Lua itself where `new` is a metatable
    if not is_meta then value = nil elseif value == new then value = old end
    rawset(new, key, value)
  end
  debug.setmetatable(new, {
    __index = old, __newindex = old, __len = function() return #old end,
    __pairs = function() return pairs(old) end,
  })
end

--- Puts everything back.
function Merge:revert()
  for i = #self.undo, 1, -1 do self.undo[i]() end
  for one, saved in pairs(self.saved) do
    for key in next, shallow_copy(one) do
      if saved.fields[key] == nil then rawset(one, key, nil) end
    end
    for key, value in next, saved.fields do rawset(one, key, value) end
    debug.setmetatable(one, saved.metatable)
  end
end

return M
