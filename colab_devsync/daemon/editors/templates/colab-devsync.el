;;; colab-devsync.el --- Edit here, run on the VM  -*- lexical-binding: t -*-

;; Load it from your init file.  Emacs starts one server per buffer, so Python buffers
;; keep the server they have and `.colabremote.toml' gets ours.  Set
;; `colab-devsync-python' before loading to have ours in Python buffers, too.

;;; Code:

(require 'cl-lib)
(require 'compile)
(require 'conf-mode)

(defvar colab-devsync-command '(@COMMAND@)
  "The words that start colab-devsync.")

(defvar colab-devsync-python nil
  "Whether eglot starts colab-devsync in Python buffers, too.")

(define-derived-mode colab-devsync-mode conf-toml-mode "ColabRemote"
  "Major mode for .colabremote.toml.")

(add-to-list 'auto-mode-alist '("\\.colabremote\\.toml\\'" . colab-devsync-mode))

(defvar colab-devsync-state nil
  "The newest status: a plist with :link, :pending, :conflicts ….")

(defun colab-devsync--show (text)
  "Append TEXT to the buffer of output from the VM."
  (with-current-buffer (get-buffer-create "*colab-devsync-output*")
    (let ((at-end (= (point) (point-max))))
      (save-excursion (goto-char (point-max)) (insert text))
      (when at-end (goto-char (point-max))))))

(with-eval-after-load 'eglot
  (defvar eglot-server-programs)
  (let ((server (append colab-devsync-command '("lsp"))))
    (add-to-list 'eglot-server-programs (cons 'colab-devsync-mode server))
    (when colab-devsync-python
      (dolist (mode '(python-mode python-ts-mode))
        (add-to-list 'eglot-server-programs (cons mode server)))))
  ;; What the server tells beyond LSP; eglot would warn of each.
  (cl-defmethod eglot-handle-notification
    (_server (_method (eql colabDevsync/status)) &rest status)
    (setq colab-devsync-state status)
    (force-mode-line-update t))
  (cl-defmethod eglot-handle-notification
    (_server (_method (eql colabDevsync/output)) &key text &allow-other-keys)
    (colab-devsync--show text))
  (cl-defmethod eglot-handle-notification
    (_server (_method (eql colabDevsync/run)) &key run exitCode &allow-other-keys)
    (when exitCode (message "colab-devsync: %s exited with %s" run exitCode)))
  (cl-defmethod eglot-handle-notification
    (_server (_method (eql colabDevsync/job)) &rest _))
  (cl-defmethod eglot-handle-notification
    (_server (_method (eql colabDevsync/mirrored)) &rest _)))

(defun colab-devsync-root ()
  "The project's folder, or an error."
  (or (locate-dominating-file default-directory ".colabremote.toml")
      (user-error "No .colabremote.toml here or above; `colab-devsync init' writes one")))

(defun colab-devsync--compile (&rest words)
  "Run colab-devsync with WORDS in a compilation buffer."
  (let ((default-directory (colab-devsync-root))
        (line (mapconcat #'shell-quote-argument
                         (append colab-devsync-command words) " ")))
    (with-current-buffer
        (compilation-start line nil (lambda (_) "*colab-devsync*"))
      (setq-local compilation-parse-errors-filename-function
                  #'colab-devsync--local-file)
      (current-buffer))))

(defun colab-devsync--local-file (name)
  "The file here that the VM calls NAME: its longest end that exists."
  (let ((parts (split-string name "/" t)) found)
    (while (and parts (not found))
      (let ((here (expand-file-name (mapconcat #'identity parts "/"))))
        (if (file-exists-p here) (setq found here) (setq parts (cdr parts)))))
    (or found name)))

(defun colab-devsync-run ()
  "Save the visited file and run it on the VM."
  (interactive)
  (when (and buffer-file-name (buffer-modified-p)) (save-buffer))
  (if (derived-mode-p 'python-mode 'python-ts-mode)
      (colab-devsync--compile "run" (expand-file-name buffer-file-name))
    (colab-devsync--compile "run")))

(defun colab-devsync-pull ()
  "Fetch what [[pull]] names."
  (interactive)
  (colab-devsync--compile "pull"))

(defun colab-devsync-tensorboard ()
  "Open TensorBoard through the connection."
  (interactive)
  (colab-devsync--compile "tensorboard"))

(defun colab-devsync-status ()
  "Show the link, the VM and what is under way."
  (interactive)
  (colab-devsync--compile "status"))

(defun colab-devsync-watch ()
  "Mirror the project for as long as Emacs runs, whatever server eglot uses."
  (interactive)
  (let ((default-directory (colab-devsync-root)))
    (unless (process-live-p (get-process "colab-devsync-watch"))
      (make-process :name "colab-devsync-watch"
                    :buffer (get-buffer-create "*colab-devsync-watch*")
                    :command (append colab-devsync-command '("watch"))
                    :noquery t))))

;; dape (GNU ELPA): F5-like debugging of the visited file on the VM.
(with-eval-after-load 'dape
  (defvar dape-configs)
  (add-to-list 'dape-configs
               `(colab-devsync
                 modes (python-mode python-ts-mode)
                 command ,(car colab-devsync-command)
                 command-args ,(vconcat (cdr colab-devsync-command) ["dap"])
                 command-cwd colab-devsync-root
                 :type "colab-devsync"
                 :request "launch"
                 :program buffer-file-name)))

(provide 'colab-devsync)
;;; colab-devsync.el ends here
