// Speaks to the language server as LSP4IJ, the plugin for JetBrains IDEs, does: with
// LSP4J, its capabilities, its way to cancel, and commands from code actions alone.
//
// java -cp LSP4J Lsp4ijClient.java ROOT FAR SERVER... ; facts go to stdout, one JSON
// object per line.

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.eclipse.lsp4j.*;
import org.eclipse.lsp4j.jsonrpc.Launcher;
import org.eclipse.lsp4j.jsonrpc.messages.Either;
import org.eclipse.lsp4j.launch.LSPLauncher;
import org.eclipse.lsp4j.services.LanguageClient;
import org.eclipse.lsp4j.services.LanguageServer;

public class Lsp4ijClient implements LanguageClient {
  static final long LIMIT_S = 60;
  static final Gson GSON = new Gson();

  final BlockingQueue<PublishDiagnosticsParams> diagnostics = new LinkedBlockingQueue<>();
  final BlockingQueue<String> shown = new LinkedBlockingQueue<>();
  final BlockingQueue<String> logged = new LinkedBlockingQueue<>();
  final List<String> registered = new ArrayList<>();
  volatile boolean answers = false;
  volatile int asked = 0;

  public static void main(String[] args) {
    int code = 1;
    try {
      session(args);
      code = 0;
    } catch (Throwable error) {
      error.printStackTrace();
    }
    System.out.flush();
    Runtime.getRuntime().halt(code); // LSP4J's threads would keep the JVM for a minute
  }

  static void session(String[] args) throws Exception {
    Path root = Path.of(args[0]);
    Path far = Path.of(args[1]);
    Process process =
        new ProcessBuilder(Arrays.copyOfRange(args, 2, args.length))
            .directory(root.toFile())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    Lsp4ijClient client = new Lsp4ijClient();
    Launcher<LanguageServer> launcher =
        LSPLauncher.createClientLauncher(
            client, process.getInputStream(), process.getOutputStream());
    launcher.startListening();
    client.drive(launcher.getRemoteProxy(), root, far);
    tell("exit", process.waitFor(LIMIT_S, TimeUnit.SECONDS) ? process.exitValue() : null);
  }

  void drive(LanguageServer server, Path root, Path far) throws Exception {
    InitializeResult result = get(server.initialize(params(root)));
    tell("server", result.getServerInfo().getName());
    server.initialized(new InitializedParams());

    // It connects by itself and asks about the host key. Here somebody closes the
    // balloon, which LSP4IJ answers by cancelling its future.
    tell("refused", take(shown, text -> text.contains("host key")));
    tell("asked", asked);
    answers = true;
    Path config = root.resolve(".colabremote.toml");
    Path script = root.resolve("train.py");
    open(server, config, "toml");
    open(server, script, "python");
    tell("actions", titles(actions(server, script)));
    execute(server, action(server, config, "devsync.connect"));
    until("the first mirror", () -> Files.exists(far.resolve("train.py")));
    tell("connected", asked);

    Files.writeString(script, "print('from LSP4J')\n");
    server.getTextDocumentService().didSave(
        new DidSaveTextDocumentParams(new TextDocumentIdentifier(uri(script))));
    until("the save arrives",
        () -> Files.readString(far.resolve("train.py")).equals("print('from LSP4J')\n"));
    tell("saved", true);

    execute(server, action(server, script, "devsync.run"));
    tell("output", take(logged, text -> text.contains("from LSP4J")));
    tell("ended", take(shown, text -> text.contains("exit code")));

    change(server, config, Files.readString(config) + "\n[snyc]\n");
    PublishDiagnosticsParams told = takeDiagnostics(config);
    tell("diagnostic", told.getDiagnostics().get(0).getMessage());

    // What the user has typed past: cancelled, and nothing comes of it.
    for (int i = 0; i < 20; i++) {
      server.getTextDocumentService().codeAction(around(script)).cancel(true);
    }
    CompletableFuture<Object> sync = server.getWorkspaceService().executeCommand(
        new ExecuteCommandParams("devsync.sync", List.of(Map.of("folder", uri(root)))));
    sync.cancel(true);
    tell("after cancelling", titles(actions(server, script)).size());
    JsonObject answer = (JsonObject) GSON.toJsonTree(get(
        server.getWorkspaceService().executeCommand(
            new ExecuteCommandParams("devsync.status", List.of()))));
    tell("status", answer.get("link").getAsString());
    tell("registered", registered);
    get(server.shutdown());
    server.exit();
  }

  // --- what LSP4IJ says ---------------------------------------------------------------

  static InitializeParams params(Path root) {
    WorkspaceClientCapabilities workspace = new WorkspaceClientCapabilities();
    workspace.setApplyEdit(true);
    workspace.setConfiguration(true);
    workspace.setWorkspaceFolders(true);
    workspace.setExecuteCommand(new ExecuteCommandCapabilities(true));
    workspace.setDidChangeWatchedFiles(new DidChangeWatchedFilesCapabilities(true));
    workspace.setDidChangeConfiguration(new DidChangeConfigurationCapabilities(true));
    workspace.setCodeLens(new CodeLensWorkspaceCapabilities(true));
    WorkspaceEditCapabilities edits = new WorkspaceEditCapabilities();
    edits.setDocumentChanges(true);
    edits.setResourceOperations(List.of("create", "delete", "rename"));
    workspace.setWorkspaceEdit(edits);

    TextDocumentClientCapabilities text = new TextDocumentClientCapabilities();
    PublishDiagnosticsCapabilities diagnostics = new PublishDiagnosticsCapabilities();
    diagnostics.setDataSupport(true);
    diagnostics.setRelatedInformation(true);
    diagnostics.setCodeDescriptionSupport(true);
    text.setPublishDiagnostics(diagnostics);
    CodeActionKindCapabilities kinds = new CodeActionKindCapabilities(List.of(
        CodeActionKind.QuickFix, CodeActionKind.Refactor, CodeActionKind.RefactorExtract,
        CodeActionKind.RefactorInline, CodeActionKind.RefactorRewrite,
        CodeActionKind.Source, CodeActionKind.SourceOrganizeImports));
    CodeActionCapabilities action =
        new CodeActionCapabilities(new CodeActionLiteralSupportCapabilities(kinds), true);
    action.setDataSupport(true);
    action.setResolveSupport(new CodeActionResolveSupportCapabilities(List.of("edit")));
    text.setCodeAction(action);
    text.setCodeLens(new CodeLensCapabilities(true));
    text.setSynchronization(new SynchronizationCapabilities(true, true, true));
    HoverCapabilities hover = new HoverCapabilities(true);
    hover.setContentFormat(List.of(MarkupKind.MARKDOWN, MarkupKind.PLAINTEXT));
    text.setHover(hover);

    WindowClientCapabilities window = new WindowClientCapabilities();
    window.setWorkDoneProgress(true);
    window.setShowMessage(new WindowShowMessageRequestCapabilities());
    window.setShowDocument(new ShowDocumentCapabilities(true));

    ClientCapabilities capabilities = new ClientCapabilities(workspace, text, window, null);
    GeneralClientCapabilities general = new GeneralClientCapabilities();
    StaleRequestCapabilities stale = new StaleRequestCapabilities();
    stale.setCancel(true);
    general.setStaleRequestSupport(stale);
    general.setPositionEncodings(List.of(PositionEncodingKind.UTF16));
    capabilities.setGeneral(general);

    InitializeParams params = new InitializeParams();
    params.setProcessId((int) ProcessHandle.current().pid());
    params.setRootUri(uri(root));
    params.setWorkspaceFolders(
        List.of(new WorkspaceFolder(uri(root), root.getFileName().toString())));
    params.setClientInfo(new ClientInfo("PyCharm", "PyCharm 2025.2.4"));
    params.setCapabilities(capabilities);
    params.setTrace("off");
    return params;
  }

  static void open(LanguageServer server, Path path, String language) throws IOException {
    server.getTextDocumentService().didOpen(new DidOpenTextDocumentParams(
        new TextDocumentItem(uri(path), language, 0, Files.readString(path))));
  }

  static void change(LanguageServer server, Path path, String text) {
    server.getTextDocumentService().didChange(new DidChangeTextDocumentParams(
        new VersionedTextDocumentIdentifier(uri(path), 1),
        List.of(new TextDocumentContentChangeEvent(text))));
  }

  static CodeActionParams around(Path path) {
    Range range = new Range(new Position(0, 0), new Position(0, 0));
    return new CodeActionParams(
        new TextDocumentIdentifier(uri(path)), range, new CodeActionContext(List.of()));
  }

  static List<Either<Command, CodeAction>> actions(LanguageServer server, Path path)
      throws Exception {
    return get(server.getTextDocumentService().codeAction(around(path)));
  }

  static List<String> titles(List<Either<Command, CodeAction>> found) {
    return found.stream().map(
        one -> one.isLeft() ? one.getLeft().getTitle() : one.getRight().getTitle()).toList();
  }

  static Command action(LanguageServer server, Path path, String name) throws Exception {
    for (Either<Command, CodeAction> one : actions(server, path)) {
      Command command = one.isLeft() ? one.getLeft() : one.getRight().getCommand();
      if (command != null && command.getCommand().equals(name)) {
        return command;
      }
    }
    throw new AssertionError("no action for " + name);
  }

  static void execute(LanguageServer server, Command command) throws Exception {
    get(server.getWorkspaceService().executeCommand(
        new ExecuteCommandParams(command.getCommand(), command.getArguments())));
  }

  // --- what is said to it -------------------------------------------------------------

  @Override
  public void telemetryEvent(Object object) {}

  @Override
  public void publishDiagnostics(PublishDiagnosticsParams params) {
    diagnostics.add(params);
  }

  @Override
  public void showMessage(MessageParams params) {
    shown.add(params.getMessage());
  }

  @Override
  public CompletableFuture<MessageActionItem> showMessageRequest(
      ShowMessageRequestParams params) {
    asked++;
    if (answers) {
      return CompletableFuture.completedFuture(params.getActions().get(0));
    }
    CompletableFuture<MessageActionItem> closed = new CompletableFuture<>();
    closed.cancel(true);
    return closed;
  }

  @Override
  public void logMessage(MessageParams params) {
    logged.add(params.getMessage());
  }

  @Override
  public CompletableFuture<Void> registerCapability(RegistrationParams params) {
    params.getRegistrations().forEach(one -> registered.add(one.getMethod()));
    return CompletableFuture.completedFuture(null);
  }

  @Override
  public CompletableFuture<Void> createProgress(WorkDoneProgressCreateParams params) {
    return CompletableFuture.completedFuture(null);
  }

  @Override
  public void notifyProgress(ProgressParams params) {}

  @Override
  public CompletableFuture<Void> refreshCodeLenses() {
    return CompletableFuture.completedFuture(null);
  }

  // --- waiting ------------------------------------------------------------------------

  interface Look {
    boolean now() throws Exception;
  }

  static void until(String what, Look look) throws Exception {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
    while (!look.now()) {
      if (System.nanoTime() > end) {
        throw new AssertionError("waited in vain: " + what);
      }
      Thread.sleep(20); // another process's file: nothing tells us
    }
  }

  static String take(BlockingQueue<String> queue, Predicate<String> wanted)
      throws InterruptedException {
    List<String> others = new ArrayList<>();
    String text;
    while ((text = queue.poll(LIMIT_S, TimeUnit.SECONDS)) != null) {
      if (wanted.test(text)) {
        return text;
      }
      others.add(text);
    }
    throw new AssertionError("heard only " + others);
  }

  PublishDiagnosticsParams takeDiagnostics(Path path) throws InterruptedException {
    PublishDiagnosticsParams found;
    while ((found = diagnostics.poll(LIMIT_S, TimeUnit.SECONDS)) != null) {
      if (Path.of(java.net.URI.create(found.getUri())).equals(path)
          && !found.getDiagnostics().isEmpty()) {
        return found;
      }
    }
    throw new AssertionError("no diagnostics for " + path);
  }

  static <T> T get(CompletableFuture<T> future) throws Exception {
    try {
      return future.get(LIMIT_S, TimeUnit.SECONDS);
    } catch (ExecutionException error) {
      throw new AssertionError(error.getCause().toString(), error);
    }
  }

  static String uri(Path path) {
    return "file://" + path.toUri().getRawPath().replaceAll("(?<=.)/$", "");
  }

  static synchronized void tell(String step, Object facts) {
    JsonObject line = new JsonObject();
    line.addProperty("step", step);
    line.add("facts", GSON.toJsonTree(facts));
    System.out.println(line);
  }
}
