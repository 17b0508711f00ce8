;;; emacs.el --- drives a batch Emacs with eglot  -*- lexical-binding: t -*-

;; Writes what it saw as JSON lines to $REPORT.  $FAR is the project's folder on the "VM".

(require 'json)
(require 'eglot)
(require 'python)

(defvar report (getenv "REPORT"))
(defvar far (file-name-as-directory (getenv "FAR")))
(defvar limit 60)

(defun tell (step facts)
  (let ((coding-system-for-write 'utf-8))
    (write-region (concat (json-encode `((step . ,step) (facts . ,facts))) "\n")
                  nil report t 'silent)))

(defun far-text (name)
  (let ((path (concat far name)))
    (and (file-exists-p path)
         (with-temp-buffer (insert-file-contents path) (buffer-string)))))

(defun wait (what look)
  (let ((deadline (+ (float-time) limit)) found)
    (while (not (setq found (funcall look)))
      (when (> (float-time) deadline) (error "Waited in vain: %s" what))
      (accept-process-output nil 0.05))
    found))

(defun diagnostics ()
  (mapcar (lambda (one)
            `((line . ,(line-number-at-pos (flymake-diagnostic-beg one)))
              (message . ,(flymake-diagnostic-text one))))
          (flymake-diagnostics)))

(defun start-eglot ()
  (let ((eglot-sync-connect limit) (eglot-connect-timeout limit))
    (apply #'eglot (eglot--guess-contact)))
  (wait "eglot" #'eglot-current-server))

(defun drive ()
  (find-file "train.py")
  (start-eglot)
  (wait "the first mirror" (lambda () (far-text "train.py")))
  (wait "online" (lambda () (equal (plist-get colab-devsync-state :link) "online")))
  (tell "online" (plist-get colab-devsync-state :link))

  (goto-char (point-min))
  (delete-region (point) (line-end-position))
  (insert "print(\"from Emacs\")")
  (save-buffer)
  (wait "the save arrives"
        (lambda () (string-prefix-p "print(\"from Emacs\")" (far-text "train.py"))))
  (tell "save" t)

  (let ((answer (eglot-execute-command
                 (eglot-current-server) 'devsync.run
                 (vector (list :file (buffer-file-name))))))
    (tell "command" (plist-get answer :state)))
  (wait "output"
        (lambda ()
          (let ((buffer (get-buffer "*colab-devsync-output*")))
            (and buffer (with-current-buffer buffer
                          (string-match-p "from the VM" (buffer-string)))))))
  (tell "output" (with-current-buffer "*colab-devsync-output*" (buffer-string)))
  (tell "traceback" (wait "a diagnostic" #'diagnostics))

  (let ((process (get-buffer-process (colab-devsync-run))))
    (wait "the end of the run" (lambda () (not (process-live-p process))))
    (wait "its output, which is read after its end where somebody asks for it"
          (lambda ()
            (accept-process-output process 0.05)
            (with-current-buffer "*colab-devsync*"
              (string-match-p "from Emacs" (buffer-string)))))
    (tell "exit" (process-exit-status process))
    (tell "compile" (with-current-buffer "*colab-devsync*" (buffer-string)))
    (with-current-buffer "*colab-devsync*"
      (tell "local" (colab-devsync--local-file (concat far "train.py")))))

  (find-file ".colabremote.toml")
  (tell "mode" (symbol-name major-mode))
  (start-eglot)
  (goto-char (point-max))
  (insert "[snyc]\n")
  (eglot--signal-textDocument/didChange)
  (tell "config" (wait "a diagnostic" #'diagnostics))
  (set-buffer-modified-p nil)

  (tell "dape" (mapcar (lambda (one) (format "%S" one)) (car dape-configs))))

;; Where dape is not installed, a variable stands in its place: only the configuration
;; that is put into it is looked at.
(defvar dape-configs nil)
(provide 'dape)

(setq colab-devsync-python t
      make-backup-files nil
      create-lockfiles nil
      python-indent-guess-indent-offset nil)
(load (getenv "OURS"))
(condition-case problem
    (drive)
  (error (tell "failed" (format "%S %s" problem
                                (with-current-buffer "*Messages*" (buffer-string))))))
(kill-emacs 0)
