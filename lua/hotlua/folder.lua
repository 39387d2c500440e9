--- Folders of plugins: every `*.so` in a directory is one, files that appear are taken in, those
--- whose file is deleted are unloaded. One watch serves the whole directory.
local core = require "hotlua.core"
local options_of = require "hotlua.options"
local plugin = require "hotlua.plugin"
local task = require "hotlua.task"
local uv = require "luv"

local M = {}

local Folder = {}
Folder.__index = Folder
Folder.__name = "hotlua.folder"

local function is_plugin_name(name)
  return name:match("%.so$") ~= nil and name:sub(1, 1) ~= "."
end

-- Options of one member: the user's, named after its file. Each has a watch of its own, for which the watcher
-- needs nothing more than it has for the folder.
local function member_options(self, name)
  local options = {}
  for key, value in pairs(self.options) do options[key] = value end
  options.watch = options.watch ~= false
  options.name = plugin.default_name(name)
  return options
end

-- Loads one by `load(…)`, plugin.load or plugin.finish.
local function load_member(self, name, load, ...)
  local ok, result = pcall(load, ...)
  if ok then
    self.members[name] = result
    self.errors[name] = nil
  else
    self.errors[name] = result
    task.on_error(result, "hot.load_dir")
  end
end

local ahead <const> = 8 -- so many are copied, checked and opened by another thread before it is their turn

local function load_members(self, names)
  local drafts = {}
  for i = 1, #names + ahead do
    local name, coming = names[i - ahead], names[i]
    if coming then drafts[i] = plugin.begin(self.path .. "/" .. coming, member_options(self, coming)) end
    if name then
      load_member(self, name, plugin.finish, drafts[i - ahead])
      drafts[i - ahead] = nil
    end
  end
end

-- A file that went and came again within this time is a change of it, not a new plugin.
local gone_ms = 50

local function on_deleted(self, name)
  task.start("hot.load_dir", function()
    task.sleep(gone_ms)
    if uv.fs_stat(self.path .. "/" .. name) then return end
    local member = self.members[name]
    self.members[name], self.errors[name] = nil, nil
    if member then member:close() end
  end)
end

-- The plugin whose file has this name now, and the old one; nil if the file is a new one.
local function find_renamed(self, path, inode)
  for old_name, member in pairs(self.members) do
    local owner = plugin.owner_of(member)
    if owner.live and plugin.is_of_file(owner, path, inode) and not uv.fs_stat(self.path .. "/" .. old_name) then
      return owner, old_name
    end
  end
end

-- A file that is here under another name now: its plugin goes on under that one.
local function follow_rename(self, name, inode)
  local path = self.path .. "/" .. name
  local owner, old_name = find_renamed(self, path, inode)
  if not owner or owner.busy or not plugin.rename(owner, plugin.default_name(name), path) then return false end
  self.members[old_name], self.members[name] = nil, owner.plugin
  return true
end

local function on_entry(self, kind, name)
  if not name or not is_plugin_name(name) then return end
  if kind == "deleted" then
    on_deleted(self, name)
  elseif not self.members[name] then
    local path = self.path .. "/" .. name
    local stat = uv.fs_stat(path)
    if stat and not follow_rename(self, name, stat.ino) then
      load_member(self, name, plugin.load, path, member_options(self, name))
    end
  end
end

local function scan(path)
  local request, message = uv.fs_scandir(path)
  if not request then error(("hot.load_dir: %s"):format(message), 0) end
  local names = {}
  for name in function() return uv.fs_scandir_next(request) end do
    if is_plugin_name(name) then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- A plugin that the program has closed itself is no part of the folder until its file comes anew.
local function is_open(member)
  return not plugin.owner_of(member).is_closed
end

--- Iterates over the plugins: for name, plugin in folder:each().
function Folder:each()
  local names = {}
  for name, member in pairs(self.members) do
    if is_open(member) then names[#names + 1] = name end
  end
  table.sort(names)
  local i = 0
  return function()
    i = i + 1
    local member = self.members[names[i]]
    if member then return member.name, member end
  end
end
Folder.__pairs = Folder.each

--- The plugin of that name, nil if there is none.
function Folder:get(name)
  for _, member in pairs(self.members) do
    if member.name == name and is_open(member) then return member end
  end
  return nil
end

--- How many plugins are loaded.
function Folder:__len()
  local count = 0
  for _ in self:each() do count = count + 1 end
  return count
end

--- Unloads all and stops watching.
function Folder:close()
  if self.watch then self.watch:stop() end
  self.watch = nil
  for _, member in self:each() do member:close() end
  self.members = {}
end
Folder.__close = Folder.close

--- Loads every `*.so` of a directory as a plugin of its own. One that cannot be loaded does not stop
--- the others: it is reported, stands in `folder.errors[file name]`, and is tried again when it
--- changes.
--- @param path string
--- @param options table? as of hot.load, for each of them; `watch = false` keeps the set as it is
--- @return table folder
function M.load(path, options)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'load_dir' (string expected, got %s)"):format(type(path)), 2)
  end
  options_of.read(options)
  local absolute = path:sub(1, 1) == "/" and path or uv.cwd() .. "/" .. path:gsub("^%./", "")
  local self = setmetatable({
    path = absolute:gsub("/+$", ""), options = options or {}, members = {}, errors = {},
  }, Folder)
  local names = scan(self.path)
  if self.options.watch ~= false then
    local message
    self.watch, message = core.watch_directory(self.path, function(kind, _, name)
      on_entry(self, kind, name)
    end)
    if not self.watch then error(("hot.load_dir: %s"):format(message), 2) end
  end
  load_members(self, names)
  return self
end

return M
