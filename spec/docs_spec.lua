-- The documentation and the program say the same.
local hot = require "hotlua"
local t = require "hotlua.test"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

local function missing(names, text, pattern)
  local list = {}
  for name in pairs(names) do
    if not text:find(pattern:format(name)) then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

describe("docs/reference.md", function()
  local reference = read "docs/reference.md"

  it("has every function of the module, and an example that calls it or shows its call", function()
    assert.are.same({}, missing(hot, reference, "hot%%.%s%%f[%%W]"))
  end)

  it("has every policy", function()
    assert.are.same({}, missing(hot.policy, reference, "%%f[%%w]%s%%f[%%W]"))
  end)

  it("has every method of a plugin", function()
    local plugin = t.load "int f(void) { return 1; }"
    local methods = {}
    for name, value in pairs(getmetatable(plugin).__index) do
      if type(value) == "function" and not name:find "^__" then methods[name] = true end
    end
    assert.are.same({}, missing(methods, reference, ":%s%%f[%%W]"))
  end)

  it("has every function of hotlua.test", function()
    local functions = {}
    for name, value in pairs(t) do functions[name] = type(value) == "function" or nil end
    assert.are.same({}, missing(functions, reference, "t%%.%s%%f[%%W]"))
  end)

  it("has an example that runs as it stands", function()
    local count = 0
    for example in reference:gmatch("```lua\n(.-)```") do
      local expected = {}
      for line in example:gmatch("%-%-> ([^\n]*)") do expected[#expected + 1] = line:gsub("%s+", "\t") end
      if #expected > 0 then
        local printed = {}
        local environment = setmetatable({
          print = function(...)
            local words = table.pack(...)
            for i = 1, words.n do words[i] = tostring(words[i]) end
            printed[#printed + 1] = table.concat(words, "\t")
          end,
        }, { __index = _G })
        assert(load(example, "=docs/reference.md", "t", environment))()
        for _, plugin in ipairs(hot.plugins()) do plugin:close() end
        assert.are.same(expected, printed)
        count = count + 1
      end
    end
    assert.is_true(count > 0)
  end)

  it("names no function that is not there", function()
    local unknown = {}
    for name in reference:gmatch("hot%.([%a_]+)") do
      if hot[name] == nil and name ~= "parent" then unknown[#unknown + 1] = name end
    end
    assert.are.same({}, unknown)
  end)

  it("has every event, every stage and every option", function()
    assert.are.same({}, missing(require("hotlua.event").names, reference, "`%s`"))
    local stages = {}
    for _, stage in ipairs(require("hotlua.reload").stages) do stages[stage] = true end
    assert.are.same({}, missing(stages, reference, "%%f[%%w]%s%%f[%%W]"))
  end)
end)

describe("README.md", function()
  it("shows a plugin and a script that run as they stand", function()
    local readme, directory = read "README.md", t.tmpdir()
    t.write(directory .. "/greeter.c", assert(readme:match("```c\n(.-)```")))
    local script = assert(readme:match("```lua\n(.-)```")):gsub("hot%.run%(%)", "hot.after(1200, hot.stop) hot.run()")
    t.write(directory .. "/main.lua", script)
    local pipe = assert(io.popen(("cd '%s' && '%s' main.lua 2>&1"):format(directory, require("luv").exepath())))
    local output = pipe:read("a")
    assert.is_true(pipe:close(), output)
    assert.matches("Hello, world! %(greeting 1%)\nHello, world! %(greeting 2%)", output)
  end)

  it("links to files that are there", function()
    for _, file in ipairs { "README.md", "README.zh-CN.md", "docs/guide.md", "docs/internals.md", "docs/reference.md" } do
      local directory = file:match("^(.*)/") or "."
      for link in read(file):gmatch("%]%(([%w%./%-_]+)%)") do
        assert.is_truthy(io.open(directory .. "/" .. link), ("%s: %s"):format(file, link))
      end
    end
  end)
end)
