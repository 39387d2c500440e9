--- `hotlua stubs --hotlua`: annotations of the modules hotlua and hotlua.test themselves.
return [==[
---@meta hotlua
-- Written by `hotlua stubs --hotlua`.

---@class hotlua.object: userdata
---@operator len: integer

---@class hotlua.types
---@field [string] fun(init?: any): hotlua.object

---@class hotlua.enums
---@field [string] integer

---@class hotlua.report
---@field ok boolean
---@field plugin string
---@field generation integer
---@field from integer
---@field unchanged? boolean
---@field stage? string where it failed
---@field error? string why
---@field us table<string, number>
---@field pause_us number
---@field total_us number
---@field added string[]
---@field removed string[]
---@field changed string[]
---@field kept string[]
---@field converted string[]
---@field reset string[]
---@field conflicts string[]
---@field repointed string[]
---@field held string[]

---@class hotlua.image
---@field api table
---@field types hotlua.types
---@field enums hotlua.enums
---@field generation integer
---@field build_id string
---@field cancel fun(self: hotlua.image, reason?: string)
---@field release fun(self: hotlua.image)

---@class hotlua.change
---@field plugin hotlua.plugin
---@field path string
---@field bytes integer
---@field build_id string
---@field attempt integer
---@field settle fun(self: hotlua.change, ms: number)
---@field sleep fun(self: hotlua.change, ms: number)
---@field wait fun(self: hotlua.change, predicate: (fun(): any), limit_ms?: number): boolean
---@field diff fun(self: hotlua.change): hotlua.diff
---@field rehearse fun(self: hotlua.change, what?: function|"shadow"|table): boolean, string?
---@field test fun(self: hotlua.change, spec_path: string, limit_s?: number): boolean, string?
---@field superseded fun(self: hotlua.change): boolean

---@alias hotlua.policy fun(change: hotlua.change): boolean?, string?

---@alias hotlua.event
---| "changed"
---| "before_load"
---| "loaded"
---| "before_unload"
---| "unloaded"
---| "failed"
---| "rolled_back"
---| "emit"

---@class hotlua.subscription
---@field off fun(self: hotlua.subscription)

---@class hotlua.plugin
---@field name string
---@field api table
---@field types hotlua.types
---@field enums hotlua.enums
---@field on fun(self: hotlua.plugin, event: hotlua.event, fn: function): hotlua.subscription
---@field reload fun(self: hotlua.plugin): hotlua.report?, hotlua.report?
---@field rollback fun(self: hotlua.plugin): hotlua.report?, hotlua.report?
---@field close fun(self: hotlua.plugin)
---@field info fun(self: hotlua.plugin): table
---@field exports fun(self: hotlua.plugin): { name: string, kind: string, signature: string? }[]
---@field borrow fun(self: hotlua.plugin, name: string): any
---@field borrow_mut fun(self: hotlua.plugin, name: string): any
---@field dump fun(self: hotlua.plugin): table
---@field restore fun(self: hotlua.plugin, values: table)

---@class hotlua.options
---@field name? string
---@field watch? boolean|string[]
---@field build? string|string[]|function
---@field policy? hotlua.policy
---@field carry? "merge"|"all"|"none"|string[]
---@field migrate? fun(new: hotlua.image, old: hotlua.image, report: hotlua.report)
---@field on? table<hotlua.event, function>
---@field expect? table
---@field guard? { crash?: "rollback"|"error"|"off", timeout_ms?: integer }
---@field rehearse? boolean|function|"shadow"|table
---@field on_rehearsal? fun(plugin: hotlua.plugin)
---@field probe? boolean
---@field verify? { sha256?: string, minisign?: string }
---@field cdef? string
---@field keep? integer

---@class hotlua.diff
---@field added string[]
---@field removed string[]
---@field changed string[]
---@field kept string[]
---@field converted string[]
---@field reset string[]
---@field conflicts string[]
---@field repointed string[]
---@field held string[]
---@field why table<string, string>
---@field compatible boolean
---@field reasons string[]
---@field types { name: string, before: string?, after: string? }[]
---@field functions { name: string, before: string?, after: string? }[]

---@class hotlua.timer
---@field stop fun(self: hotlua.timer)

---@class hotlua.group
---@field reload fun(self: hotlua.group): hotlua.report[]?, hotlua.report[]?
---@field on fun(self: hotlua.group, event: string, fn: function): hotlua.subscription

---@class hotlua.policies
---@field immediate hotlua.policy
---@field manual hotlua.policy
---@field compatible hotlua.policy
---@field settle fun(ms: number): hotlua.policy
---@field tested fun(spec_path: string): hotlua.policy
---@field rehearsed fun(what?: function|"shadow"|table): hotlua.policy
---@field idle fun(predicate: fun(): any): hotlua.policy
---@field window fun(from: string, to: string): hotlua.policy
---@field all fun(...: hotlua.policy): hotlua.policy

---@class hotlua
---@field policy hotlua.policies
local hot = {}

---@param path string
---@param options? hotlua.options
---@return hotlua.plugin
function hot.load(path, options) end

---@param path string
---@param options? hotlua.options
---@return table folder
function hot.load_dir(path, options) end

---@param name string
---@return hotlua.plugin?
function hot.get(name) end

---@return hotlua.plugin[]
function hot.plugins() end

---@param members hotlua.plugin[]
---@return hotlua.group
function hot.group(members) end

---@param name string
---@return table
function hot.module(name) end

---@param ms number
function hot.sleep(ms) end

---@param ms number
---@param fn function
---@return hotlua.timer
function hot.every(ms, fn) end

---@param ms number
---@param fn function
---@return hotlua.timer
function hot.after(ms, fn) end

---@param fn function
---@return thread
function hot.spawn(fn, ...) end

---The event loop's `uv_loop_t *`.
---@return any
function hot.loop() end

function hot.poll() end
function hot.run() end
function hot.stop() end

---@param ctype any
---@param init? any
---@return hotlua.object
function hot.new(ctype, init) end

---@param ctype any
---@param value any
---@return any
function hot.cast(ctype, value) end

---@param x any
---@return integer
function hot.sizeof(x) end

---@param ctype any
---@param field string
---@return integer
function hot.offsetof(ctype, field) end

---@param x any
---@return any
function hot.typeof(x) end

---@param pointer any
---@param length? integer
---@return string
function hot.string(pointer, length) end

---@param to any
---@param from any
---@param length integer
function hot.copy(to, from, length) end

---@param x any
---@return integer
function hot.address(x) end

---@return integer
function hot.errno() end

---@param fn function
---@param ctype any
---@return hotlua.object callback
function hot.callback(fn, ctype) end

---@param path string
---@return { symbol: (fun(self: table, name: string): integer?), close: fun(self: table) }
function hot.open(path) end

---@return hotlua.plugin
function hot.self() end

---@param address any
---@return { file: string, symbol: string?, offset: integer?, source: string?, line: integer? }?
function hot.symbolize(address) end

---@param path string
---@return table
function hot.inspect(path) end

---@param old string
---@param new string
---@param options? { carry?: any, cdef?: string }
---@return hotlua.diff
function hot.check(old, new, options) end

---@param body string|function
---@return table worker
function hot.worker(body, ...) end

return hot
]==]
